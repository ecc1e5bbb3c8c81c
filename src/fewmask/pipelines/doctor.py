"""What works on this machine: each check does the thing itself rather than asking for a version."""

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Check:
    """One line of the report; a check that is not ``needed`` may fail."""

    name: str
    needed: bool
    ok: bool
    found: str


def examine() -> list[Check]:
    """Run all checks."""
    return [
        Check("python", True, sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.machine()}"),
        _tried("torch", True, _torch),
        _tried("gpu", False, _gpu),
        _tried("bf16", False, _bf16),
        _tried("video", True, _video),
        _tried("bundled weights", True, _weights),
        *[_installed(name, extra) for name, extra in _OPTIONAL.items()],
    ]


_OPTIONAL = {
    "openvino": "runtime",
    "onnxruntime": "runtime",
    "ray": "scale",
    "pyarrow": "scale",
    "fastapi": "studio",
    "supervision": "dev",
    "tensorboard": "tensorboard",
}


def _tried(name: str, needed: bool, attempt: Callable[[], str]) -> Check:
    try:
        return Check(name, needed, True, attempt())
    except Exception as error:  # a report must list every failure, whatever its kind
        return Check(name, needed, False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def _torch() -> str:
    import torch
    import torchvision
    import transformers

    return (
        f"{torch.__version__}, torchvision {torchvision.__version__}, transformers {transformers.__version__}, "
        f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    )


def _gpu() -> str:
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    if torch.backends.mps.is_available():
        return "Apple MPS"
    raise RuntimeError("none; everything runs on the CPU")


def _bf16() -> str:
    import torch

    from fewmask.models.device import resolve_device, resolve_precision

    if resolve_precision("auto", resolve_device("auto")) is not torch.bfloat16:
        raise RuntimeError("not in hardware; auto precision is fp32")
    return "native; auto precision uses it"


def _video() -> str:
    import av
    import numpy as np

    from fewmask.media.frames import open_frames
    from fewmask.media.writer import VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        with VideoWriter(path, (36, 52), 25.0) as writer:
            for value in (0, 128, 255):
                writer.write(np.full((36, 52, 3), value, dtype=np.uint8))
        with open_frames(path) as frames:
            count = sum(1 for _ in frames)
    if count != 3:
        raise RuntimeError(f"wrote 3 frames and read {count}")
    names = [name for name in ("h264", "hevc", "vp9", "av1") if _decodes(name)]
    return f"PyAV {av.__version__} writes and reads h264; decodes {', '.join(names)}"


def _decodes(name: str) -> bool:
    import av

    try:
        av.Codec(name, "r")
    except ValueError:
        return False
    return True


def _weights() -> str:
    import numpy as np

    from fewmask.minvis.pretrained import load

    segmenter = load()
    output = segmenter(np.zeros((1, 64, 96, 3), dtype=np.uint8))
    return f"small segmenter runs, {output.class_queries_logits.shape[1]} queries"


def _installed(name: str, extra: str) -> Check:
    try:
        import_module(name)
        return Check(name, False, True, version(name))
    except (ImportError, PackageNotFoundError):
        return Check(name, False, False, f"not installed; pip install 'fewmask[{extra}]'")
