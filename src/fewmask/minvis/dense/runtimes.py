"""The one-stage network as a graph, and computed by ONNX Runtime or OpenVINO instead of torch.

Weights, input and everything behind the network stay the same; the windows of the backbone depend on the size.
"""

from functools import partial

from torch import Tensor, nn

from fewmask.minvis.dense.folded import folded
from fewmask.minvis.dense.network import STRIDES, DenseNetwork, DensePrediction, places_of
from fewmask.models.other_runtimes import ConvertedNetwork, Graph

OUTPUTS = ("objectness", "classes", "kernels", "identities", "pixels")


def dense_graph(network: DenseNetwork) -> Graph:
    """From normalised images to what `DensePrediction` holds but for the places."""
    return Graph(_Tuple(network), OUTPUTS)


class OtherRuntime:
    """Normalised images in, `DensePrediction` out, as of the network itself.

    Args:
        network: trained weights, on the CPU.
        runtime: onnxruntime or openvino.
        bfloat16: as `ConvertedNetwork`.

    Raises:
        ConfigError: the runtime is not installed, or the network is not on the CPU.
    """

    def __init__(self, network: DenseNetwork, runtime: str, *, bfloat16: bool = False) -> None:
        device = network.objectness.weight.device
        self._compute = ConvertedNetwork(partial(dense_graph, network), runtime, device, bfloat16=bfloat16)

    def __call__(self, images: Tensor) -> DensePrediction:
        """Images [B, 3, H, W], any number of them."""
        height, width = images.shape[-2:]
        objectness, classes, kernels, identities, pixels = self._compute(images)
        places = places_of([(height // stride, width // stride) for stride in STRIDES], images.device)
        return DensePrediction(objectness, classes, kernels, identities, pixels, places)


class _Tuple(nn.Module):
    """Outputs in the order of `OUTPUTS`, for graphs know no classes of ours."""

    def __init__(self, network: DenseNetwork) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.network(images)
        return tuple(getattr(found, name) for name in OUTPUTS)
