"""Reliable memory (section 4.3): earlier frames with a high predicted IoU, encoded once, a bounded number of them."""

from dataclasses import dataclass, field

from fewmask.datasets.draws import draw, seed_of
from fewmask.vipmt.exemplars import Exemplars

CAPACITY = 32
"""Reliable frames kept per class. Until it is reached the draw is the paper's; afterwards what is kept is a uniform
sample of all reliable frames (reservoir sampling), so the five drawn from it are one as well."""


@dataclass
class ReliableMemory:
    """Reliable frames of one class; two runs over the same video with the same ``seed`` remember the same frames."""

    seed: int
    class_name: str
    frames: dict[int, Exemplars] = field(default_factory=dict)
    """Frame index -> the frame, encoded."""
    seen: int = 0
    """Reliable frames offered so far."""

    def add(self, frame: int, exemplar: Exemplars) -> None:
        """Offer a reliable frame with its predicted mask."""
        self.seen += 1
        if len(self.frames) >= CAPACITY:
            place = seed_of("vipmt memory", self.seed, self.class_name, frame) % self.seen
            if place >= CAPACITY:
                return
            del self.frames[sorted(self.frames)[place]]
        self.frames[frame] = exemplar

    def restore(self, frames: dict[int, Exemplars], seen: int) -> None:
        """Put in what another memory with this seed and class had remembered, in its order."""
        self.frames, self.seen = frames, seen

    def chosen(self, clip: int, length: int) -> list[int]:
        """Indices of at most ``length`` frames for clip number ``clip``, drawn at random, ascending."""
        candidates = list(self.frames)
        key = ("vipmt clip", self.seed, self.class_name, clip)
        return sorted(draw(candidates, min(length, len(candidates)), *key))

    def recall(self, clip: int, length: int) -> Exemplars | None:
        """The chosen frames, or None where there is none yet."""
        chosen = self.chosen(clip, length)
        return Exemplars.join([self.frames[index] for index in chosen]) if chosen else None
