"""Backbone features kept in memory: the backbone is frozen, so each view of a picture is encoded once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fewmask.vipmt.backbone import FrameFeatures, align
from fewmask.vipmt.episodes import Shot
from fewmask.vipmt.letterbox import normalise
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.views import shot_picture

ENCODE_AT_ONCE = 8


class FeatureCache:
    """Features of shots, in half precision and at the backbone's own strides, up to ``limit`` bytes.

    What does not fit is encoded again each time; ``limit`` = 0 keeps nothing.
    """

    def __init__(self, network: VIPMTNetwork, limit: int) -> None:
        self.network = network
        self.limit = limit
        self.bytes = 0
        self._maps: dict[tuple[str, int], list[Tensor]] = {}

    def get(self, shots: Sequence[Shot]) -> FrameFeatures:
        """Features of N shots, in order."""
        fresh = self._encode_missing(shots)
        size = self.network.config.input_size
        each = [self._maps.get(_key(shot)) or fresh[_key(shot)] for shot in shots]
        where = (self.network.device, self.network.dtype)  # each map first: autocast on CPU stacks no half precision
        stacked = [torch.stack([maps[level].to(*where) for maps in each]) for level in range(4)]
        return align(stacked, size)

    @torch.no_grad()
    def _encode_missing(self, shots: Sequence[Shot]) -> dict[tuple[str, int], list[Tensor]]:
        missing = list({_key(shot): shot for shot in shots if _key(shot) not in self._maps}.values())
        fresh: dict[tuple[str, int], list[Tensor]] = {}
        for start in range(0, len(missing), ENCODE_AT_ONCE):
            some = missing[start : start + ENCODE_AT_ONCE]
            pictures = np.stack([shot_picture(shot, self.network.config.input_size) for shot in some])
            maps = self.network.backbone(normalise(pictures).to(self.network.device, self.network.dtype))
            for index, shot in enumerate(some):
                fresh[_key(shot)] = [level[index].half().cpu() for level in maps]
        for key, levels in fresh.items():
            need = sum(level.numel() * level.element_size() for level in levels)
            if self.bytes + need <= self.limit:
                self._maps[key] = levels
                self.bytes += need
        return fresh


def _key(shot: Shot) -> tuple[str, int]:
    return shot.frame.key, shot.view
