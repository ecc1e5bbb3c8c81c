"""The one-stage network computed by ONNX Runtime or OpenVINO instead of torch.

Converted when the first frames come, for their size; weights, input and everything behind the network stay the same.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from fewmask.errors import ConfigError
from fewmask.minvis.dense.graph import EXTRA, INPUT, OUTPUTS, Shape, onnx_bytes, openvino_model
from fewmask.minvis.dense.network import STRIDES, DenseNetwork, DensePrediction, places_of

_Arrays = Callable[[Any], list[Any]]


class OtherRuntime:
    """Normalised images in, `DensePrediction` out, as of the network itself.

    Args:
        network: trained weights, on the CPU.
        runtime: onnxruntime or openvino.
        bfloat16: let OpenVINO compute in it; ONNX Runtime computes in float32 all the same.

    Raises:
        ConfigError: the runtime is not installed, or the network is not on the CPU.
    """

    def __init__(self, network: DenseNetwork, runtime: str, *, bfloat16: bool = False) -> None:
        if network.objectness.weight.device.type != "cpu":
            raise ConfigError(f"--runtime {runtime} computes on the CPU; use --device cpu")
        if find_spec(runtime) is None:
            raise ConfigError(f"{runtime} is not installed: {EXTRA}")
        self._network, self._bfloat16 = network, bfloat16
        self._make = {"onnxruntime": self._onnxruntime, "openvino": self._openvino}[runtime]
        self._compiled: dict[tuple[int, int], tuple[int, _Arrays]] = {}

    def __call__(self, images: Tensor) -> DensePrediction:
        """Images [B, 3, H, W]; a batch larger than the first one of its size goes through in parts."""
        height, width = images.shape[-2:]
        if (height, width) not in self._compiled:
            self._compiled[height, width] = len(images), self._make((len(images), height, width))
        batch, compute = self._compiled[height, width]
        parts = [self._whole(part, batch, compute) for part in torch.split(images, batch)]
        found = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        sizes = [(height // stride, width // stride) for stride in STRIDES]
        objectness, classes, kernels, identities, pixels = found
        places = places_of(sizes, images.device)
        return DensePrediction(objectness, classes, kernels, identities, pixels, places)

    def _whole(self, images: Tensor, batch: int, compute: _Arrays) -> list[Tensor]:
        """Outputs of up to ``batch`` images; the graph takes no fewer, so the last one fills up."""
        filled = torch.cat((images, images[-1:].expand(batch - len(images), -1, -1, -1)))
        arrays = compute(filled.contiguous().numpy())
        return [torch.from_numpy(array)[: len(images)] for array in arrays]

    def _onnxruntime(self, shape: Shape) -> _Arrays:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            onnx_bytes(self._network, shape), options, providers=["CPUExecutionProvider"]
        )
        return lambda images: list(session.run(list(OUTPUTS), {INPUT: images}))

    def _openvino(self, shape: Shape) -> _Arrays:
        import openvino

        model = openvino_model(self._network, shape)
        hints = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if self._bfloat16 else "f32",
            "NUM_STREAMS": 1,
        }
        request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()

        def compute(images: Any) -> list[Any]:
            found = request.infer([images])
            return [found[name].copy() for name in OUTPUTS]  # the request writes into the same arrays again

        return compute
