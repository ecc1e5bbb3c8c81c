"""The one-stage network as a graph that other runtimes compute: ONNX, OpenVINO.

A graph is made for one size of input and one number of frames: the windows of the backbone depend on both. It begins at
normalised pixels and ends at what `DensePrediction` holds; choosing queries and encoding masks stay here.
"""

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewmask.errors import ConfigError
from fewmask.media.atomic import whole_file
from fewmask.minvis.dense.folded import folded
from fewmask.minvis.dense.network import DenseNetwork

INPUT = "images"
OUTPUTS = ("objectness", "classes", "kernels", "identities", "pixels")
EXTRA = "pip install 'fewmask[runtime]'"
_OPSET = 17

Shape = tuple[int, int, int]
"""(frames, height, width) of the input; sides divisible by 32."""


def onnx_bytes(network: DenseNetwork, shape: Shape) -> bytes:
    """The network as an ONNX model."""
    written: Any = io.BytesIO()  # the exporter takes it, its types know files alone
    images = _example(shape)
    with _plain_operators():
        torch.onnx.export(
            _Tuple(network), (images,), written, dynamo=False, opset_version=_OPSET, input_names=[INPUT],
            output_names=list(OUTPUTS),
        )  # fmt: skip
    graph: bytes = written.getvalue()
    return graph


def openvino_model(network: DenseNetwork, shape: Shape) -> Any:
    """The network as an `openvino.Model`.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(f"openvino is not installed: {EXTRA}") from error
    images = _example(shape)
    with _plain_operators():
        traced = torch.jit.trace(_Tuple(network), images, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=images, input=[images.shape])
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.get_tensor().set_names({name})
    return model


def write_graph(network: DenseNetwork, shape: Shape, form: str, path: Path) -> None:
    """Write the network as ``form``: onnx, or openvino (``path`` must end in .xml; the weights lie beside as .bin).

    Raises:
        ConfigError: OpenVINO is not installed.
        FewmaskError: ``path`` cannot be written.
    """
    if form == "onnx":
        with whole_file(path) as temporary:
            temporary.write_bytes(onnx_bytes(network, shape))
        return
    model = openvino_model(network, shape)
    import openvino

    # The description comes last: who finds it finds the weights too.
    with whole_file(path) as temporary, whole_file(path.with_suffix(".bin")) as weights:
        openvino.save_model(model, temporary, compress_to_fp16=False)
        temporary.with_suffix(".bin").replace(weights)


class _Tuple(nn.Module):
    """Outputs in the order of `OUTPUTS`, for graphs know no classes of ours."""

    def __init__(self, network: DenseNetwork) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.network(images)
        return tuple(getattr(found, name) for name in OUTPUTS)


def _example(shape: Shape) -> Tensor:
    frames, height, width = shape
    return torch.zeros(frames, 3, height, width)


@contextmanager
def _plain_operators() -> Generator[None, None, None]:
    """A graph of float32 without torch's own fused attention, whatever runs around; no remarks of tracing.

    Shapes are meant to be fixed.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        no_casts = torch.autocast("cpu", enabled=False)
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad(), no_casts:
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
