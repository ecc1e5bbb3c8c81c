"""A trained network as a file for other runtimes, with a description of what goes in and comes out."""

from dataclasses import dataclass
from pathlib import Path

from fewmask.errors import ConfigError
from fewmask.media.atomic import write_json
from fewmask.minvis.dense.graph import INPUT, OUTPUTS, write_graph
from fewmask.minvis.dense.network import STRIDES
from fewmask.minvis.dense.weights import is_dense, load_dense_network
from fewmask.minvis.pixels import SIZE_DIVISOR, PixelNormalisation
from fewmask.minvis.pretrained import folder_of

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


@dataclass(frozen=True)
class Exported:
    """What was written: ``files``, and the input's ``shape`` (frames, 3, H, W)."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int, int]


def export_model(
    weights: str | Path, out: Path, form: str, *, size: tuple[int, int] | None = None, batch: int = 1
) -> Exported:
    """Convert a one-stage network; ``out`` + ``.json`` says how to feed it.

    Args:
        weights: ``small`` or a folder of a one-stage network.
        out: ends in .onnx or, for openvino, in .xml.
        form: onnx or openvino.
        size: (H, W) of the input, multiples of 32; None = 16:9 with the weights' short side.
        batch: frames per call.

    Raises:
        ConfigError: other weights, an impossible size or suffix, or OpenVINO is not installed.
        CheckpointError: damaged weights.
    """
    if out.suffix != SUFFIXES[form]:
        raise ConfigError(f"{out}: a file of {form} ends in {SUFFIXES[form]}")
    folder = folder_of(weights)
    if not is_dense(folder):
        raise ConfigError(f"{weights}: no one-stage network; only these can be exported so far (dense.json is missing)")
    network, names, short_side = load_dense_network(folder)
    height, width = size or _wide(short_side or 256)
    if min(height, width) < SIZE_DIVISOR or height % SIZE_DIVISOR or width % SIZE_DIVISOR:
        raise ConfigError(f"--size {width}x{height}: both must be multiples of {SIZE_DIVISOR}")
    write_graph(network, (batch, height, width), form, out)
    normalisation = PixelNormalisation()
    description = out.with_name(f"{out.name}.json")
    write_json(
        description,
        {
            "input": {
                "name": INPUT, "shape": [batch, 3, height, width], "channels": "RGB, 0..255",
                "mean": list(normalisation.mean), "std": list(normalisation.std),
            },
            "outputs": list(OUTPUTS),
            "strides": list(STRIDES),
            "mask": "kernels[place] . pixels > 0, at a quarter of the input's size",
            "names": list(names),
        },
        indent=2,
    )  # fmt: skip
    files = (out, out.with_suffix(".bin"), description) if form == "openvino" else (out, description)
    return Exported(files, (batch, 3, height, width))


def _wide(short_side: int) -> tuple[int, int]:
    """16:9 at that height, padded as frames are."""
    width = int(short_side * 16 / 9 + 0.5)
    return short_side + -short_side % SIZE_DIVISOR, width + -width % SIZE_DIVISOR
