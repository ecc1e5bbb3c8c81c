"""A trained network as a file for other runtimes, with a description of what goes in and comes out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.errors import ConfigError
from fewmask.media.atomic import write_json
from fewmask.minvis.dense.network import STRIDES
from fewmask.minvis.dense.runtimes import dense_graph
from fewmask.minvis.dense.segmenter import DenseSegmenter
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.pixels import SIZE_DIVISOR
from fewmask.minvis.pretrained import load
from fewmask.models.other_runtimes import INPUT, Graph, write_graph

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


@dataclass(frozen=True)
class Exported:
    """What was written: ``files``, and the input's ``shape`` (frames, 3, H, W)."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int, int]


def export_model(
    weights: str | Path, out: Path, form: str, *, size: tuple[int, int] | None = None, batch: int = 1
) -> Exported:
    """Convert a one-stage network or a Mask2Former; ``out`` + ``.json`` says how to feed it.

    Args:
        weights: ``small``, ``mask2former``, or the folder of such a network.
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
    segmenter: Any = load(weights)
    graph, about = _graph_of(segmenter, str(weights))
    height, width = size or _wide(segmenter.short_side or 256)
    if min(height, width) < SIZE_DIVISOR or height % SIZE_DIVISOR or width % SIZE_DIVISOR:
        raise ConfigError(f"--size {width}x{height}: both must be multiples of {SIZE_DIVISOR}")
    write_graph(graph, (batch, height, width), form, out)
    description = out.with_name(f"{out.name}.json")
    normalisation = segmenter.normalisation
    write_json(
        description,
        {
            "input": {
                "name": INPUT, "shape": [batch, 3, height, width], "channels": "RGB, 0..255",
                "mean": list(normalisation.mean), "std": list(normalisation.std),
            },
            "outputs": list(graph.outputs),
            **about,
        },
        indent=2,
    )  # fmt: skip
    files = (out, out.with_suffix(".bin"), description) if form == "openvino" else (out, description)
    return Exported(files, (batch, 3, height, width))


def _graph_of(segmenter: Any, weights: str) -> tuple[Graph, dict[str, Any]]:
    if isinstance(segmenter, DenseSegmenter):
        about = {"strides": list(STRIDES), "mask": "kernels[place] . pixels > 0, at a quarter of the input's size"}
        return dense_graph(segmenter.network), {**about, "names": list(segmenter.names)}
    if isinstance(segmenter, Mask2FormerSegmenter):
        names = [segmenter.categories[index] for index in range(segmenter.num_classes)]
        return segmenter.graph(), {"mask": "masks > 0, at a quarter of the input's size", "names": names}
    raise ConfigError(f"{weights}: neither a one-stage network nor a Mask2Former; only these can be exported so far")


def _wide(short_side: int) -> tuple[int, int]:
    """16:9 at that height, padded as frames are."""
    width = int(short_side * 16 / 9 + 0.5)
    return short_side + -short_side % SIZE_DIVISOR, width + -width % SIZE_DIVISOR
