"""How MinVIS runs over a video: what is kept, how frames are batched, how tracks are ranked."""

import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from fewmask.errors import ConfigError

if TYPE_CHECKING:
    import torch

Mode = Literal["auto", "exact", "bounded"]
Ranking = Literal["auto", "paper", "mask-quality"]
Linking = Literal["auto", "paper", "objects"]
EXACT_UP_TO = 300  # frames; longer and live sources are pruned


@dataclass(frozen=True)
class StreamSettings:
    """How a video is run.

    Attributes:
        top_k: (track, class) pairs in the result; the paper's 10.
        mode: exact keeps the masks of all slots, bounded those of the likely ones, auto decides by length.
        batch: frames per forward pass, 0 = by device.
        short_side: size of the network's input; None = what the weights were trained for.
        ranking: score of a track. "paper": class probability; "mask-quality": times the mean mask probability inside
            its mask over all frames, 0 where it has none; "auto": mask-quality for weights of a single class, whose
            class probability cannot tell an empty mask, paper for all others.
        linking: "paper": every query of a frame continues a slot of the frame before (Section 3.3); "objects": tracks
            are born, rest while unseen, return and end (`fewmask.minvis.object_tracker`), and scores count mask
            quality; "auto": objects for segmenters whose embedding was trained to be an identity, paper for others.
    """

    top_k: int = 10
    mode: Mode = "auto"
    batch: int = 0
    short_side: int | None = None
    ranking: Ranking = "auto"
    linking: Linking = "auto"


class SourceFacts(Protocol):
    """What "auto" asks of a source, open or not; see `fewmask.media.frames.FrameSource`."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""

    @property
    def length(self) -> int | None:
        """Number of frames, where known."""

    @property
    def is_live(self) -> bool:
        """Whether its frames come when they come."""


def resolve(settings: StreamSettings, source: SourceFacts, device: "torch.device") -> StreamSettings:
    """Settings with "auto" replaced by facts: mode from the length, batch from the device and the frame size.

    Raises:
        ConfigError: a number out of range, or a choice that there is not.
    """
    if not isinstance(settings, StreamSettings):
        raise ConfigError(f"settings are of type {type(settings).__name__}; give StreamSettings")
    numbers = (settings.top_k, settings.batch, settings.short_side or 32)
    if not all(type(number) is int for number in numbers) or any(map(operator.lt, numbers, (1, 0, 32))):
        raise ConfigError("top-k must be 1 or more, batch 0 (auto) or more, short-side 32 or more")
    for name, choices in (("mode", get_args(Mode)), ("ranking", get_args(Ranking)), ("linking", get_args(Linking))):
        if getattr(settings, name) not in choices:
            raise ConfigError(f"{name} {getattr(settings, name)!r} is unknown; choose from {', '.join(choices)}")
    mode = settings.mode
    if mode == "auto":
        known = source.length is not None and not source.is_live
        mode = "exact" if known and (source.length or 0) <= EXACT_UP_TO else "bounded"
    batch = settings.batch
    if batch == 0:
        # A live picture must not wait for its successors; a CPU gains little beyond a few frames.
        batch = 1 if source.is_live else 4 if device.type == "cpu" else 16
        if source.size[0] * source.size[1] > 1920 * 1088:
            batch = max(1, batch // 4)
        # The network sees the shorter side at a fixed size, so a long strip is a large picture to it.
        batch = max(1, min(batch, 4 * batch * min(source.size) // max(source.size)))
    return replace(settings, mode=mode, batch=batch)
