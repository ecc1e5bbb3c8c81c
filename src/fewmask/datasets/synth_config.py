"""Every setting of a synthetic video, checked once."""

import math
from dataclasses import dataclass
from typing import Literal

from fewmask.errors import ConfigError

Occlusion = Literal["light", "heavy"]
BackgroundRule = Literal["inpaint", "clean", "label"]


@dataclass(frozen=True)
class SynthConfig:
    """How one video is made. Sizes are in pixels, times in frames.

    Raises:
        ConfigError: a value out of range.
    """

    frames: int = 24
    shots: int = 1
    """Cuts + 1. Every shot shows the same objects anew: another background, camera, size and path."""
    height: int = 192
    width: int = 320
    objects: tuple[int, int] = (2, 6)
    """Fewest and most objects per video."""
    classes_per_video: tuple[int, int] = (1, 3)
    """Fewest and most classes they are drawn from: few classes give look-alikes that a tracker can confuse."""
    occlusion: Occlusion = "light"
    """Of several random paths an object takes the one that meets the others least ("light"), or often ("heavy")."""
    object_size: tuple[float, float] = (0.25, 0.85)
    """Longer side of an object over the shorter side of the frame; smaller where the source is not sharp enough."""
    background: BackgroundRule = "inpaint"
    """What happens to the objects a background image shows; see `fewmask.datasets.synth_background`."""
    camera: float = 1.0
    """Strength of pan, zoom, rotation and shake; 0 holds the camera still."""
    motion: float = 1.0
    """Speed of the objects, their turning and their change of size; 0 holds them still."""
    deformation: float = 1.0
    """Strength of the elastic waves; 0 keeps objects rigid."""
    photometric: float = 1.0
    """Strength of drifting brightness and colour, and of sensor noise."""
    exposure: float = 0.25
    """Share of the frame interval the shutter is open: the length of motion blur. 0 gives sharp frames."""
    feather: float = 0.7
    """Softness of the pasted edges: standard deviation in pixels of the frame."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames must be 1 or more, not {self.frames}")
        if not 1 <= self.shots <= self.frames:
            raise ConfigError(f"shots must lie in 1..{self.frames}, the number of frames, not {self.shots}")
        if not (16 <= self.height <= 4096 and 16 <= self.width <= 4096):
            raise ConfigError(f"frame size must lie in 16..4096 on both sides, not {self.height}x{self.width}")
        for name, low, high in (("objects", *self.objects), ("classes_per_video", *self.classes_per_video)):
            if not 1 <= low <= high:
                raise ConfigError(f"{name} must be MIN-MAX with 1 <= MIN <= MAX, not {low}-{high}")
        if not 0.02 <= self.object_size[0] <= self.object_size[1] <= 4:
            raise ConfigError(f"object_size must rise within 0.02..4, not {self.object_size}")
        if self.occlusion not in ("light", "heavy"):
            raise ConfigError(f"occlusion must be light or heavy, not {self.occlusion!r}")
        if self.background not in ("inpaint", "clean", "label"):
            raise ConfigError(f"background must be inpaint, clean or label, not {self.background!r}")
        if self.shots > 1 and self.background == "label":
            raise ConfigError(
                "background label needs one shot: the next one's background has other objects; use inpaint"
            )
        for name in ("camera", "motion", "deformation", "photometric", "exposure", "feather"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 3):
                raise ConfigError(f"{name} must lie in 0..3, not {value}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width
