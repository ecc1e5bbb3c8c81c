"""Maps of a backbone that does not learn, computed once for each frame of the training videos."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fewmask.selfshot.backbone import Backbone, Maps


class FrozenMaps:
    """Maps in half precision, up to ``limit`` bytes; frames beyond that are computed anew each time.

    Mirrored clips take mirrored maps: an ImageNet network gives nearly the same for mirrored pictures, and the cache
    stays half as large.

    Args:
        backbone: in evaluation mode, not trained.
        read: pictures uint8 [T, H, W, 3] of some frames of a video, by its id.
        limit: bytes.
    """

    def __init__(
        self, backbone: Backbone, read: Callable[[int, Sequence[int]], Tensor], *, limit: int = 4_000_000_000
    ) -> None:
        self._backbone, self._read, self._left = backbone, read, limit
        self._known: dict[tuple[int, int], Maps] = {}

    def clip(self, video: int, places: Sequence[int], *, mirrored: bool, device: torch.device) -> Maps:
        """Maps of the frames ``places`` of a video, repeated ones included."""
        missing = [place for place in sorted(set(places)) if (video, place) not in self._known]
        fresh = self._computed(video, missing, device) if missing else {}
        each = [self._known.get((video, place)) or fresh[place] for place in places]
        levels = [torch.stack(level).to(device).float() for level in zip(*each, strict=True)]
        return Maps(*(level.flip(-1) if mirrored else level for level in levels))

    @torch.no_grad()
    def _computed(self, video: int, places: Sequence[int], device: torch.device) -> dict[int, Maps]:
        maps = self._backbone(self._read(video, places).to(device))
        fresh = {}
        for position, place in enumerate(places):
            one = Maps(*(level[position].half().cpu() for level in maps))
            size = sum(level.numel() * level.element_size() for level in one)
            if size <= self._left:
                self._left -= size
                self._known[video, place] = one
            fresh[place] = one
        return fresh
