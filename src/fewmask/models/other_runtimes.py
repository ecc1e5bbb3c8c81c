"""A network as a graph that other runtimes compute: written as ONNX or OpenVINO, or run by one of them in our place.

A graph is made for one size of input and one number of frames. It begins at normalised pixels and ends at the network's
own tensors; what follows them stays in torch.
"""

import io
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewmask.errors import ConfigError
from fewmask.media.atomic import whole_file

INPUT = "images"
EXTRA = "pip install 'fewmask[runtime]'"
_OPSET = 17

Shape = tuple[int, int, int]
"""(frames, height, width) of the input; sides divisible by 32."""
_Arrays = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class Graph:
    """A module from images [B, 3, H, W] to a tuple of tensors [B, ...], frames apart, on the CPU; and their names."""

    module: nn.Module
    outputs: tuple[str, ...]


def onnx_bytes(graph: Graph, shape: Shape) -> bytes:
    """The network as an ONNX model."""
    written: Any = io.BytesIO()  # the exporter takes it, its types know files alone
    with _plain_operators():
        torch.onnx.export(
            graph.module, (_example(shape),), written, dynamo=False, opset_version=_OPSET, input_names=[INPUT],
            output_names=list(graph.outputs),
        )  # fmt: skip
    content: bytes = written.getvalue()
    return content


def openvino_model(graph: Graph, shape: Shape) -> Any:
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
        traced = torch.jit.trace(graph.module, images, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=images, input=[images.shape])
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, graph.outputs, strict=True):
        output.get_tensor().set_names({name})
    return model


def write_graph(graph: Graph, shape: Shape, form: str, path: Path) -> None:
    """Write the network as ``form``: onnx, or openvino (``path`` must end in .xml; the weights lie beside as .bin).

    Raises:
        ConfigError: OpenVINO is not installed.
        FewmaskError: ``path`` cannot be written.
    """
    if form == "onnx":
        with whole_file(path) as temporary:
            temporary.write_bytes(onnx_bytes(graph, shape))
        return
    model = openvino_model(graph, shape)
    import openvino

    # The description comes last: who finds it finds the weights too.
    with whole_file(path) as temporary, whole_file(path.with_suffix(".bin")) as weights:
        openvino.save_model(model, temporary, compress_to_fp16=False)
        temporary.with_suffix(".bin").replace(weights)


class ConvertedNetwork:
    """A graph computed by ONNX Runtime or OpenVINO; converted when the first frames come, for their size.

    Args:
        make_graph: of the network; called when it is needed.
        runtime: onnxruntime or openvino.
        device: where the network is.
        bfloat16: let OpenVINO compute in it; ONNX Runtime computes in float32 all the same.

    Raises:
        ConfigError: the runtime is not installed, or the network is not on the CPU.
    """

    def __init__(
        self, make_graph: Callable[[], Graph], runtime: str, device: torch.device, *, bfloat16: bool = False
    ) -> None:
        if device.type != "cpu":
            raise ConfigError(f"--runtime {runtime} computes on the CPU; use --device cpu")
        if find_spec(runtime) is None:
            raise ConfigError(f"{runtime} is not installed: {EXTRA}")
        self._make_graph, self._bfloat16 = make_graph, bfloat16
        self._make = {"onnxruntime": self._onnxruntime, "openvino": self._openvino}[runtime]
        self._compiled: dict[tuple[int, int], tuple[int, _Arrays]] = {}

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The outputs for images [B, 3, H, W]; a batch larger than the first one of its size goes through in parts."""
        height, width = images.shape[-2:]
        if (height, width) not in self._compiled:
            self._compiled[height, width] = len(images), self._make((len(images), height, width))
        batch, compute = self._compiled[height, width]
        parts = [_whole(part, batch, compute) for part in torch.split(images, batch)]
        return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    def _onnxruntime(self, shape: Shape) -> _Arrays:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        graph = self._make_graph()
        session = onnxruntime.InferenceSession(onnx_bytes(graph, shape), options, providers=["CPUExecutionProvider"])
        return lambda images: list(session.run(list(graph.outputs), {INPUT: images}))

    def _openvino(self, shape: Shape) -> _Arrays:
        import openvino

        graph = self._make_graph()
        model = openvino_model(graph, shape)
        hints = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if self._bfloat16 else "f32",
            "NUM_STREAMS": 1,
        }
        request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()

        def compute(images: Any) -> list[Any]:
            found = request.infer([images])
            return [found[name].copy() for name in graph.outputs]  # the request writes into the same arrays again

        return compute


def _whole(images: Tensor, batch: int, compute: _Arrays) -> list[Tensor]:
    """Outputs of up to ``batch`` images; the graph takes no fewer, so the last one fills up."""
    filled = torch.cat((images, images[-1:].expand(batch - len(images), -1, -1, -1)))
    arrays = compute(filled.contiguous().numpy())
    return [torch.from_numpy(array)[: len(images)] for array in arrays]


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
