"""Self-Shot on a stream of frames: windows of T frames that overlap, their tracks joined, memory bounded.

The paper takes whole videos of at most 32 frames. Here a longer video is cut into windows; two tracks of neighbouring
windows are one object if their masks agree where the windows overlap.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fewmask.errors import ConfigError, VideoError
from fewmask.media import rle
from fewmask.media.frame_source import Frame
from fewmask.media.results import FrameResult
from fewmask.selfshot.supports import resized
from fewmask.selfshot.tracks import ClipPrediction
from fewmask.selfshot.transformer import CommonInstanceTransformer, EncodedSupports

CATEGORY = 1
"""Every instance is of the one class that query and supports share."""


@dataclass(frozen=True)
class StreamSettings:
    """How windows become tracks.

    Attributes:
        overlap: frames that two windows share, at least 1 and below T; None = a quarter of T.
        min_score: slots below this mean foreground probability are no track; raising it drops doubtful objects.
        min_presence: a track is absent from frames whose foreground probability is below this; ``min_score`` where that
            is lower, so that doubtful tracks have masks.
        duplicate: of two slots of one window whose masks overlap by more than this IoU, the better one is kept.
        same_track: mean mask IoU over the shared frames from which two windows' tracks are one object.
    """

    overlap: int | None = None
    min_score: float = 0.5
    min_presence: float = 0.3
    same_track: float = 0.3
    duplicate: float = 0.5


@dataclass(frozen=True)
class _Window:
    """The tracks of one window at the mask head's resolution."""

    track_ids: tuple[int, ...]
    masks: npt.NDArray[np.bool_]  # [m, frames, h, w]


class SelfShotStream:
    """One video, frame by frame; results come T frames late.

    Args:
        network: in evaluation mode.
        supports: from ``network.encode_supports``, encoded once.
        settings: how windows become tracks.

    Raises:
        ConfigError: the overlap does not fit the network's window.
    """

    def __init__(
        self, network: CommonInstanceTransformer, supports: EncodedSupports, settings: StreamSettings | None = None
    ) -> None:
        self._network, self._supports = network, supports
        self._settings = settings or StreamSettings()
        self._length = network.config.frames
        overlap = self._settings.overlap
        self._overlap = max(1, self._length // 4) if overlap is None else overlap
        if not 1 <= self._overlap < self._length:
            raise ConfigError(
                f"overlap {self._overlap} does not fit windows of {self._length} frames; choose 1 or more"
            )
        self._frames: list[tuple[int, float, Tensor]] = []  # index, time and small picture of the present window
        self._reported = 0  # how many of them are reported already
        self._before: _Window | None = None
        self._size: tuple[int, int] | None = None
        self._next_id = 1
        self._finished = False

    def step(self, frame: Frame) -> list[FrameResult]:
        """Take a frame; gives the results of all frames of a window when it is complete, else nothing.

        Raises:
            VideoError: the frame has another size than those before.
        """
        size = (frame.rgb.shape[0], frame.rgb.shape[1])
        if self._size not in (None, size):
            raise VideoError(f"frame {frame.index}: its size {size} differs from {self._size}; a video has one size")
        self._size = size
        self._frames.append((frame.index, frame.time_s, resized([frame.rgb], self._network.config.size)[0]))
        return list(self._segment()) if len(self._frames) == self._length else []

    def finish(self) -> list[FrameResult]:
        """Results of the frames that did not fill a window; its last frame repeats, as in the paper.

        Afterwards the stream can take no more frames.
        """
        self._finished = True
        return list(self._segment()) if len(self._frames) > self._reported else []

    def state(self) -> dict[str, Any] | None:
        """What `restore` needs to go on after the last window, as plain JSON values; None within one and at the end."""
        if self._before is None or self._finished or len(self._frames) > self._reported:
            return None
        before = self._before.masks
        return {
            "frames": [index for index, _, _ in self._frames],
            "next_id": self._next_id,
            "track_ids": self._before.track_ids,
            "size": before.shape[1:],
            "masks": rle.encode_many(before.reshape(-1, *before.shape[-2:])) if before.size else [],
        }

    def restore(self, state: dict[str, Any], frames: Iterable[Frame]) -> None:
        """Put a fresh stream into ``state``.

        Args:
            state: as `state` gave it.
            frames: those with the indices ``state["frames"]``.
        """
        for frame in frames:
            self._size = (frame.rgb.shape[0], frame.rgb.shape[1])
            self._frames.append((frame.index, frame.time_s, resized([frame.rgb], self._network.config.size)[0]))
        self._reported = len(self._frames)
        self._next_id = int(state["next_id"])
        track_ids = tuple(state["track_ids"])
        masks = np.zeros((len(track_ids), *state["size"]), bool)
        if masks.size:
            masks = rle.decode_many(state["masks"]).reshape(masks.shape)
        self._before = _Window(track_ids, masks)

    def _segment(self) -> Iterator[FrameResult]:
        """Run the window; report its new frames; keep the overlap."""
        assert self._size is not None
        pictures = torch.stack([picture for _, _, picture in self._frames])
        missing = self._length - len(pictures)
        padded = torch.cat([pictures, pictures[-1:].expand(missing, -1, -1, -1)])
        with torch.inference_mode():
            prediction = self._network(padded.to(self._supports.tokens.device), self._supports)
            foreground = prediction.slots.foreground[: len(pictures)].T  # [n, frames]
            scores = foreground.mean(1)
            kept = scores >= self._settings.min_score
            logits = self._masks(prediction, kept)[:, : len(pictures)].float()
            present = foreground[kept] >= min(self._settings.min_presence, self._settings.min_score)
            inside = ((logits > 0) & present[..., None, None]).cpu().numpy()
            single = distinct(inside, scores[kept].cpu().numpy(), self._settings.duplicate)
            single = [place for place in single if inside[place].any()]
            inside, logits, present = inside[single], logits[single], present[single]
            kept_scores = tuple(scores[kept][single].tolist())
        track_ids = self._joined(inside[:, : self._reported])
        for place in range(self._reported, len(self._frames)):
            index, time_s, _ = self._frames[place]
            masks = self._native(logits[:, place], present[:, place])
            yield FrameResult(index, self._size, track_ids, (CATEGORY,) * len(track_ids), kept_scores, masks, time_s)
        self._before = _Window(track_ids, inside[:, -self._overlap :])
        self._frames = self._frames[-self._overlap :]
        self._reported = len(self._frames)

    @staticmethod
    def _masks(prediction: ClipPrediction, kept: Tensor) -> Tensor:
        """Mask logits of the kept slots, [m, T, h, w]."""
        if not kept.any():
            return prediction.slots.boxes.new_zeros(0, len(prediction.slots.boxes), 1, 1)
        return prediction.masks(kept.nonzero()[:, 0])

    def _joined(self, shared: npt.NDArray[np.bool_]) -> tuple[int, ...]:
        """Ids of the window's tracks from their masks in the frames it shares with the one before, [m, O, h, w]."""
        ids = [0] * len(shared)
        if self._before is not None and len(shared) and self._before.track_ids:
            agreement = track_agreement(self._before.masks, shared)
            agreement[agreement < self._settings.same_track] = 0  # else two half-matches could displace a good one
            for old, new in zip(*linear_sum_assignment(-agreement), strict=True):
                if agreement[old, new] >= self._settings.same_track:
                    ids[new] = self._before.track_ids[old]
        for place, known in enumerate(ids):
            if not known:
                ids[place] = self._next_id
                self._next_id += 1
        return tuple(ids)

    def _native(self, logits: Tensor, present: Tensor) -> tuple[rle.Rle | None, ...]:
        """One frame's logits [m, h, w] as masks of the video's size; None where absent or empty."""
        assert self._size is not None
        if not len(logits):
            return ()
        full = F.interpolate(logits[None], self._size, mode="bilinear", align_corners=False)[0] > 0
        encoded = rle.encode_many(full.cpu().numpy())
        visible = present.cpu() & full.flatten(1).any(1).cpu()
        return tuple(mask if seen else None for mask, seen in zip(encoded, visible.tolist(), strict=True))


def distinct(masks: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32], most: float) -> list[int]:
    """Which of some tracks to keep so that no two overlap by an IoU above ``most``; the better scored ones.

    Args:
        masks: bool [m, T, h, w].
        scores: [m].
        most: in [0, 1].
    """
    agreement = track_agreement(masks, masks)
    kept: list[int] = []
    for track in np.argsort(-scores, kind="stable").tolist():
        if all(agreement[track, other] <= most for other in kept):
            kept.append(track)
    return sorted(kept)


def track_agreement(rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """IoU over all pixels of the shared frames, bool [R, O, h, w] and [C, O, h, w] -> [R, C]; 0 if both are empty."""
    left = rows.reshape(len(rows), int(np.prod(rows.shape[1:]))).astype(np.float64)
    right = columns.reshape(len(columns), left.shape[1]).astype(np.float64)
    common = left @ right.T
    union = left.sum(1)[:, None] + right.sum(1)[None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))
