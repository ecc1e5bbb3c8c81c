"""The one-stage network as a segmenter of MinVIS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from fewmask.media.stage_times import stage
from fewmask.minvis.dense.folded import folded
from fewmask.minvis.dense.network import DenseNetwork, DensePrediction
from fewmask.minvis.dense.queries import queries_of
from fewmask.minvis.dense.runtimes import OtherRuntime
from fewmask.minvis.dense.weights import load_dense_network, save_dense
from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, Frames, PixelNormalisation, prepare_pixels
from fewmask.minvis.segmenter import SegmenterOutput

QUERIES = 50
SURE = 0.5  # a name less probable than this is "object"
OBJECT = "object"
_LEAST = 1e-6  # probability that stands for 0 in logits


class DenseSegmenter(nn.Module):
    """Frames in, the queries of the winning places out; every query bears one name, or "object" where none is sure.

    Args:
        network: trained weights.
        names: of its classes.
        short_side: the size the weights were trained for; a call resizes only when told to.
        autocast_dtype: run the network in this type; None = float32.
        runtime: torch, or what computes the network instead; see `fewmask.minvis.dense.runtimes`.
    """

    teaches_identity = True  # its embedding is trained to be the same for one object and no other

    def __init__(
        self, network: DenseNetwork, names: tuple[str, ...], *, short_side: int | None,
        autocast_dtype: torch.dtype | None = None, runtime: str = "torch",
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = network.eval()
        self.names = names
        self.short_side = short_side
        self.autocast_dtype = autocast_dtype
        self.runtime = runtime
        self.normalisation = PixelNormalisation()
        self._run: Callable[[Tensor], DensePrediction] | None = None

    @property
    def num_classes(self) -> int:
        """The names and "object"."""
        return len(self.names) + 1

    @property
    def categories(self) -> dict[int, str]:
        """Class name by 0-based class index; the last is "object"."""
        return dict(enumerate((*self.names, OBJECT)))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.objectness.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.network.objectness.weight.dtype

    @torch.inference_mode()
    def forward(
        self, frames: Frames, *, short_side: int | None = None, max_size: int = DEFAULT_MAX_SIZE
    ) -> SegmenterOutput:
        """Queries of every frame, best first; frames do not see one another.

        Args:
            frames: uint8 [T, H, W, 3], RGB; all T go through the network at once.
            short_side: resize so that the shorter side has this many pixels; None = no resizing.
            max_size: the longer side stays below this, by a smaller scale if need be.

        Raises:
            VideoError: frames are not uint8 [T, H, W, 3].
        """
        pixels, image_size = prepare_pixels(
            frames, self.normalisation, short_side=short_side, max_size=max_size, device=self.device, dtype=self.dtype
        )
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            found = self._as_run()(pixels)
        with stage("queries"):
            queries = [queries_of(found, image, QUERIES) for image in range(len(pixels))]
            objectness, classes, masks, identities = (torch.stack(part) for part in zip(*queries, strict=True))
        return SegmenterOutput(
            class_queries_logits=_class_logits(objectness, classes),
            masks_queries_logits=masks,
            query_embeddings=identities,
            padded_size=(pixels.shape[-2], pixels.shape[-1]),
            image_size=image_size,
            name_logits=classes,
        )

    def _as_run(self) -> Callable[[Tensor], DensePrediction]:
        """The network without what training alone needs, made before the first frame; not part of the state."""
        if self._run is None:
            network: Any
            if self.runtime == "torch":
                network = folded(self.network).to(memory_format=torch.channels_last)
            else:
                network = OtherRuntime(self.network, self.runtime, bfloat16=self.autocast_dtype == torch.bfloat16)
            object.__setattr__(self, "_run", network)  # no sub-module: it is not saved, and does not train
        assert self._run is not None
        return self._run

    def train(self, mode: bool = True) -> Self:
        """As of any module; weights may change after it, so that the next frame is run with them as they are then."""
        self._run = None
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._run = None  # moved to a device or another type
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def reset(self) -> None:
        """Nothing: frames do not see one another."""

    def save(self, folder: str | Path) -> None:
        """Write the weights and their description, as `fewmask.minvis.pretrained.load` reads them."""
        save_dense(self.network, Path(folder), names=self.names, short_side=self.short_side)


def _class_logits(objectness: Tensor, classes: Tensor) -> Tensor:
    """Logits [T, Q, K + 2] whose softmax gives the objectness to one name and the rest to "no object"."""
    sure, name = classes.softmax(-1).max(-1)
    name = torch.where(sure >= SURE, name, classes.shape[-1])
    probability = classes.new_full((*classes.shape[:2], classes.shape[-1] + 2), _LEAST)
    probability.scatter_(2, name[..., None], objectness[..., None].clamp(min=_LEAST))
    probability[..., -1] = (1 - objectness).clamp(min=_LEAST)
    return probability.log()


def load_dense(
    folder: Path, *, device: str | torch.device = "cpu", autocast_dtype: torch.dtype | None = None,
    runtime: str = "torch",
) -> DenseSegmenter:  # fmt: skip
    """Read what `save_dense` wrote; computes in float32 unless ``autocast_dtype`` says otherwise.

    Raises:
        CheckpointError: missing, damaged, or the weights do not fit the description.
    """
    network, names, short_side = load_dense_network(folder)
    return DenseSegmenter(network, names, short_side=short_side, autocast_dtype=autocast_dtype, runtime=runtime).to(
        device
    )
