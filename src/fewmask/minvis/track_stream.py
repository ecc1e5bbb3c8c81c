"""One video through MinVIS, batch by batch: the `ResultStream` that every verb runs, and whose state can be stored.

Decoding, the network and mask encoding run side by side. Per frame nothing is kept but run-length masks, and those
only of the slots that can still matter (`kept_slots`); the scores of all slots are running sums, so the final ranking
is the same whatever was pruned, and with ``ranking="paper"`` the official one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fewmask.media.batches import batches
from fewmask.media.final_tracks import FinalTracks
from fewmask.media.frames import Frame
from fewmask.media.prefetch import Prefetch
from fewmask.media.result_stream import Reread
from fewmask.media.results import FrameResult, Track
from fewmask.media.rle import Rle
from fewmask.media.stage_times import stage
from fewmask.minvis.frame_instances import mask_quality
from fewmask.minvis.mask_encoding import MaskEncoder
from fewmask.minvis.matching import as_numpy
from fewmask.minvis.object_tracker import ObjectTracker
from fewmask.minvis.segmenter import QuerySegmenter, SegmenterOutput
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.minvis.tracker import class_probability
from fewmask.minvis.trackers import Tracker, new_tracker, restored

COARSE = 2  # trackers compare every so many-th row and column of the logits
SLOTS_PER_TRACK = 3  # bounded mode keeps the masks of this many slots per wanted track


class TrackStream:
    """The frames of one video as results with persistent ids; scores are means so far.

    Args:
        segmenter: per-frame queries; forgets the video before.
        settings: resolved (`fewmask.minvis.stream_settings.resolve`).
    """

    def __init__(self, segmenter: QuerySegmenter, settings: StreamSettings) -> None:
        self._segmenter, self._settings = segmenter, settings
        self._tracker = new_tracker(segmenter, settings.linking)
        self._by_quality = (
            isinstance(self._tracker, ObjectTracker)
            or settings.ranking == "mask-quality"
            or (settings.ranking == "auto" and len(segmenter.categories) == 1)
        )
        self._encoder: MaskEncoder | None = None
        self._whole = True  # the last batch had its full length
        self.names: list[dict[int, npt.NDArray[np.float32]]] = []
        """For each frame of the last batch, by track id: probabilities of the segmenter's names for what is seen there,
        however unsure (`SegmenterOutput.name_probabilities`)."""
        segmenter.reset()

    @property
    def categories(self) -> Mapping[int, str]:
        """Class names by category id; ids count from 1 as in YouTube-VIS."""
        return categories_of(self._segmenter)

    @property
    def live_tracks(self) -> int:
        """The wanted number of tracks: the frame results list more, of which some may rise."""
        return self._settings.top_k

    def run(self, frames: Iterable[Frame]) -> Iterator[Sequence[FrameResult]]:
        """One group per batch, each frame's kept slots best first; an error of the source comes after them.

        Args:
            frames: of one size, in order.
        """
        size = self._settings.batch
        with Prefetch(frames, 2 * size) as decoded, Prefetch(self._outputs(decoded), 1) as outputs:
            for batch, output in outputs:
                self._whole = len(batch) == size
                yield self._tracked(batch, output)

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """The same for the next frames alone, as one batch."""
        return self._tracked(frames, self._queries(frames))

    def state(self) -> dict[str, Any] | None:
        """The tracker, after a whole batch: a resumed run must batch the same frames together."""
        return self._tracker.state() if self._whole else None

    def restore(self, state: dict[str, Any], reread: Reread | None = None) -> None:  # noqa: ARG002
        """Go on from another's `state`; no frame is needed again."""
        self._tracker = restored(state)

    def final_tracks(self) -> FinalTracks | None:
        """The ``top_k`` best pairs of track and class over the whole video; with the paper's linking its ranking."""
        if not self._tracker.frames:
            return None
        best = self._tracker.best(self._settings.top_k)
        tracks = enumerate(zip(best.labels.tolist(), best.scores.tolist(), strict=True), start=1)
        return FinalTracks(
            tuple(Track(rank, label + 1, score, ()) for rank, (label, score) in tracks),
            tuple(self._tracker.ids[best.slots].tolist()),
            joined=tuple(self._tracker.joined.items()) if isinstance(self._tracker, ObjectTracker) else (),
        )

    def _outputs(self, frames: Iterable[Frame]) -> Iterator[tuple[list[Frame], SegmenterOutput]]:
        """Frames through the network in batches; an error of the source comes after the frames before it."""
        for batch in batches(frames, self._settings.batch):
            yield batch, self._queries(batch)

    def _queries(self, frames: Sequence[Frame]) -> SegmenterOutput:
        short_side = self._settings.short_side or self._segmenter.short_side
        with stage("network"):
            return self._segmenter(np.stack([frame.rgb for frame in frames]), short_side=short_side)

    def _tracked(self, frames: Sequence[Frame], output: SegmenterOutput) -> list[FrameResult]:
        size = (frames[0].rgb.shape[0], frames[0].rgb.shape[1])
        if self._encoder is None:
            low = (output.masks_queries_logits.shape[-2], output.masks_queries_logits.shape[-1])
            self._encoder = MaskEncoder(low, output.padded_size, output.image_size, size)
        results = []
        self.names = []
        for position, frame in enumerate(frames):
            logits, masks = output.class_queries_logits[position], output.masks_queries_logits[position]
            with stage("linking"):
                quality = mask_quality(masks.float()) if self._by_quality else None
                coarse = masks[:, ::COARSE, ::COARSE] > 0
                order = self._tracker.step(logits, output.query_embeddings[position], quality, coarse)
            if isinstance(self._tracker, ObjectTracker):
                slots = seen_tracks(self._tracker, order)
            else:
                own = class_probability(as_numpy(logits)[order])
                if quality is not None:
                    own *= as_numpy(quality)[order, None]
                slots = kept_slots(self._tracker, own, self._settings)
            with stage("encode"):
                encoded = self._encoder.encode(as_numpy(masks[torch.from_numpy(order[slots])]))
            results.append(_frame_result(frame, size, self._tracker, slots, encoded))
            names = as_numpy(output.name_probabilities(position))[order[slots]]
            self.names.append(dict(zip(self._tracker.ids[slots].tolist(), names, strict=True)))
        return results


def categories_of(segmenter: QuerySegmenter) -> dict[int, str]:
    """Class names by category id; ids count from 1 as in YouTube-VIS."""
    return {index + 1: name for index, name in sorted(segmenter.categories.items())}


def seen_tracks(tracker: Tracker, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows of the tracks in sight, best first: at most as many as the network has queries, in every mode."""
    rows = np.flatnonzero(order >= 0)
    best: npt.NDArray[np.int64] = rows[np.argsort(-tracker.scores[rows].max(1), kind="stable")]
    return best


def kept_slots(
    tracker: Tracker, own_scores: npt.NDArray[np.float64], settings: StreamSettings
) -> npt.NDArray[np.int64]:
    """Slots whose masks are kept in this frame, best first.

    Exact mode keeps all. Bounded mode keeps the `SLOTS_PER_TRACK` x top_k best by mean score so far, and the top_k
    best by this frame's own score. A track that enters the final list from outside both has no mask in that frame.

    Args:
        tracker: after this frame's step.
        own_scores: this frame's scores [Q, K] in slot order.
        settings: resolved.
    """
    order = np.argsort(-tracker.scores.max(1), kind="stable")
    if settings.mode == "exact":
        return order
    kept = order[: SLOTS_PER_TRACK * settings.top_k]
    now = np.argsort(-own_scores.max(1), kind="stable")[: settings.top_k]
    return np.concatenate((kept, now[~np.isin(now, kept)]))


def best_of(result: FrameResult, top_k: int) -> FrameResult:
    """The first ``top_k`` tracks of a frame."""
    return result.rows(range(min(top_k, len(result.track_ids))))


def _frame_result(
    frame: Frame, size: tuple[int, int], tracker: Tracker, slots: npt.NDArray[np.int64], masks: list[Rle | None]
) -> FrameResult:
    scores = tracker.scores[slots]
    labels = scores.argmax(1)
    return FrameResult(
        index=frame.index,
        size=size,
        track_ids=tuple(tracker.ids[slots].tolist()),
        category_ids=tuple(int(label) + 1 for label in labels),
        scores=tuple(float(score) for score in scores.max(1)),
        masks=tuple(masks),
        time_s=frame.time_s,
    )
