"""Fixed ImageNet features as a clip embedding: the baseline that learned encoders have to beat (Table 1, row c).

The paper uses Inception; here it is MobileNetV2, which is small enough to come with the package.
"""

import hashlib
from importlib import resources
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fewmask.errors import CheckpointError
from fewmask.models.imagenet_pixels import normalised
from fewmask.models.tensors_file import load_tensors

BUNDLED = "mobilenet_v2_imagenet.safetensors"


class ClipEmbedder(Protocol):
    """What turns clips into vectors.

    Attributes:
        name: tells embeddings apart; vectors of embedders with other names cannot be compared.
        dimension: size of a vector.
    """

    name: str
    dimension: int

    def embed(self, clips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Clips uint8 [B, T, S, S, 3] as unit vectors [B, dimension]."""
        ...


class FixedFeatures:
    """MobileNetV2's pooled features, averaged over the frames of a clip; never trained on video."""

    bundled_name = "mobilenet-v2-imagenet"
    dimension = 1280

    def __init__(self, network: nn.Module, device: torch.device, name: str = bundled_name) -> None:
        """Use ``load``."""
        self.name = name
        self._network = network.to(device).eval()
        self._device = device

    @classmethod
    def load(cls, weights: Path | None = None, *, device: str | torch.device = "cpu") -> Self:
        """The embedder with the weights in ``weights`` (torchvision's key names, safetensors).

        By default the file that comes with the package; where a build left it out, torchvision fetches its own. With
        other weights the name is a fingerprint of them, so that pools made with them are searched with them.

        Raises:
            CheckpointError: the file is missing, damaged, or of another network.
        """
        from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

        bundled = Path(str(resources.files("fewmask.retrieval"))) / "weights" / BUNDLED
        if weights is None and not bundled.exists():
            try:
                network = mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V1)
            except OSError as error:
                raise CheckpointError(
                    f"{bundled}: missing, and nothing to be fetched ({error}); give weights"
                ) from error
        else:
            network = mobilenet_v2()
            _fill(network, weights or bundled)
        name = cls.bundled_name
        if weights is not None and not (bundled.exists() and weights.read_bytes() == bundled.read_bytes()):
            name = f"mobilenet-v2-{hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}"
        return cls(network.features, torch.device(device), name)

    @torch.inference_mode()
    def embed(self, clips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Clips uint8 [B, T, S, S, 3] as unit vectors [B, 1280]."""
        pictures = normalised(torch.from_numpy(clips).to(self._device)).flatten(0, 1)
        features = self._network(pictures).mean((2, 3)).unflatten(0, clips.shape[:2]).mean(1)
        return np.asarray(nn.functional.normalize(features, dim=-1).float().cpu().numpy())


def _fill(network: nn.Module, path: Path) -> None:
    state = load_tensors(path)[0]
    body = {name: value.float() for name, value in state.items() if name.startswith("features.")}
    wanted = {name for name in network.state_dict() if name.startswith("features.")}
    missing = sorted(name for name in wanted - body.keys() if not name.endswith("num_batches_tracked"))
    try:
        network.load_state_dict(body, strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: not the weights of MobileNetV2 ({str(error).splitlines()[1].strip()})"
        ) from error
    if missing:
        raise CheckpointError(f"{path}: not the weights of MobileNetV2 ({missing[0]} is missing)")
