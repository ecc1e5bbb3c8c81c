"""MinVIS on a frame source: every object with a persistent id, online, in memory that does not grow with the video.

Decoding, the network and mask encoding run side by side. Per frame nothing is kept but run-length masks, and those
only of the slots that can still matter (`kept_slots`); the scores of all slots are running sums, so the final ranking
is the same whatever was pruned, and with ``ranking="paper"`` the official one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from fewmask.errors import ConfigError, VideoError
from fewmask.exports.video_result import VideoResult
from fewmask.media.frames import Frame, FrameSource, open_frames
from fewmask.media.prefetch import Prefetch
from fewmask.media.results import FrameResult, Track
from fewmask.media.rle import Rle
from fewmask.minvis.frame_instances import mask_quality
from fewmask.minvis.mask_encoding import MaskEncoder
from fewmask.minvis.matching import as_numpy
from fewmask.minvis.segmenter import QuerySegmenter, SegmenterOutput
from fewmask.minvis.tracker import QueryTracker, RankedPairs, class_probability

Mode = Literal["auto", "exact", "bounded"]
Ranking = Literal["auto", "paper", "mask-quality"]
EXACT_UP_TO = 300  # frames; longer and live sources are pruned
SLOTS_PER_TRACK = 3  # bounded mode keeps the masks of this many slots per wanted track


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
    """

    top_k: int = 10
    mode: Mode = "auto"
    batch: int = 0
    short_side: int | None = None
    ranking: Ranking = "auto"


class MinVIS:
    """Online video instance segmentation with an image segmenter.

    Example:
        >>> model = MinVIS.from_pretrained()
        >>> for frame in model.stream("video.mp4"):
        ...     print(frame.index, frame.track_ids)

    Args:
        segmenter: per-frame queries; see `fewmask.minvis.segmenter.QuerySegmenter`.
    """

    def __init__(self, segmenter: QuerySegmenter) -> None:
        self.segmenter = segmenter

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "small",
        *,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32",
    ) -> "MinVIS":
        """``small`` (ships with fewmask), a folder written by us or by transformers, or a name on the hub.

        `fewmask convert minvis` makes such a folder out of an official checkpoint.

        Args:
            name_or_folder: the weights.
            device: auto, cpu, cuda, cuda:N or mps.
            precision: of matrix products; auto takes bfloat16 where the hardware computes in it, which is faster and
                moves single mask pixels.

        Raises:
            CheckpointError: nothing there, damaged, or weights of another architecture.
            ConfigError: an impossible device or precision.
        """
        from fewmask.minvis.pretrained import load
        from fewmask.models.device import resolve_device, resolve_precision

        where = resolve_device(device)
        return cls(load(name_or_folder, device=where, autocast_dtype=resolve_precision(precision, where)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the segmenter into ``folder``, as `from_pretrained` reads it.

        Mask2Former, EoMT and VidEoMT are written as transformers reads them (config.json, model.safetensors and,
        for Mask2Former, preprocessor_config.json); small networks as architecture.json and model.safetensors,
        because transformers has no name for their backbones.
        """
        self.segmenter.save(folder)

    @property
    def categories(self) -> dict[int, str]:
        """Class names by category id; ids count from 1 as in YouTube-VIS."""
        return {index + 1: name for index, name in sorted(self.segmenter.categories.items())}

    def stream(
        self, source: "str | Path | int | Sequence[str | Path] | FrameSource", settings: StreamSettings | None = None
    ) -> Iterator[FrameResult]:
        """Results frame by frame, as soon as known; ids never change.

        Each lists the ``top_k`` best slots so far, at their best class and mean score so far, absent ones with mask
        None.

        Raises:
            VideoError: the source cannot be read (on); everything before has been yielded.
        """
        wanted = settings or StreamSettings()
        with _opened(source) as frames:
            tracker = QueryTracker()
            for result in self.track(frames, tracker, resolve(wanted, frames, self.segmenter.device)):
                yield best_of(result, wanted.top_k)

    def segment(
        self, source: "str | Path | int | Sequence[str | Path] | FrameSource", settings: StreamSettings | None = None
    ) -> VideoResult:
        """All tracks of a video that ends; the final scores are those of the paper.

        Raises:
            VideoError: the source cannot be read to its end, or is live.
        """
        with _opened(source) as frames:
            if frames.is_live:
                raise VideoError(f"{frames.name}: a live source has no end; use stream()")
            wanted = resolve(settings or StreamSettings(), frames, self.segmenter.device)
            tracker = QueryTracker()
            results = list(self.track(frames, tracker, wanted))
            length = results[-1].index + 1
            best = tracker.best(wanted.top_k)
            ids = pair_ids(best, tracker.video_logits.shape[0])
            by_slot: dict[int, list[Rle | None]] = {int(slot): [None] * length for slot in best.slots}
            for result in results:
                for track_id, mask in zip(result.track_ids, result.masks, strict=True):
                    if track_id - 1 in by_slot:
                        by_slot[track_id - 1][result.index] = mask
            tracks = tuple(
                Track(track_id, int(label) + 1, float(score), tuple(by_slot[int(slot)]))
                for track_id, score, label, slot in zip(ids, best.scores, best.labels, best.slots, strict=True)
            )
            seen = tuple(result.index for result in results)
            return VideoResult(
                name=frames.name, size=frames.size, length=length, tracks=tracks, categories=self.categories,
                fps=frames.fps, file_names=frames.file_names,
                annotated_frames=None if len(seen) == length else seen,
            )  # fmt: skip

    def track(self, frames: Iterable[Frame], tracker: QueryTracker, settings: StreamSettings) -> Iterator[FrameResult]:
        """Feed frames to ``tracker`` and yield each frame's kept slots, best first; the core of all verbs.

        Track id = slot + 1; scores are means so far. Nothing is held back: a batch's results come together. An
        error of the source comes after the results of all frames before it.

        Args:
            frames: of one size, in order.
            tracker: empty, or one to go on with.
            settings: resolved (`resolve`).
        """
        self.segmenter.reset()
        by_quality = settings.ranking == "mask-quality" or (
            settings.ranking == "auto" and len(self.segmenter.categories) == 1
        )
        with Prefetch(frames, 2 * settings.batch) as decoded, Prefetch(self._run(decoded, settings), 1) as outputs:
            encoder: MaskEncoder | None = None
            for batch, output in outputs:
                low = (output.masks_queries_logits.shape[-2], output.masks_queries_logits.shape[-1])
                size = (batch[0].rgb.shape[0], batch[0].rgb.shape[1])
                if encoder is None:
                    encoder = MaskEncoder(low, output.padded_size, output.image_size, size)
                for position, frame in enumerate(batch):
                    quality = mask_quality(output.masks_queries_logits[position].float()) if by_quality else None
                    logits = output.class_queries_logits[position]
                    order = tracker.step(logits, output.query_embeddings[position], quality)
                    own = class_probability(as_numpy(logits)[order])
                    if quality is not None:
                        own *= as_numpy(quality)[order, None]
                    slots = kept_slots(tracker, own, settings)
                    masks = encoder.encode(
                        as_numpy(output.masks_queries_logits[position][torch.from_numpy(order[slots])])
                    )
                    yield _frame_result(frame, size, tracker, slots, masks)

    def _run(self, frames: Iterable[Frame], settings: StreamSettings) -> Iterator[tuple[list[Frame], SegmenterOutput]]:
        """Frames through the network in batches; an error of the source comes after the frames before it."""
        short_side = settings.short_side or self.segmenter.short_side
        for batch, error in _batches(frames, settings.batch):
            if batch:
                yield batch, self.segmenter(np.stack([frame.rgb for frame in batch]), short_side=short_side)
            if error is not None:
                raise error


def resolve(settings: StreamSettings, frames: FrameSource, device: torch.device) -> StreamSettings:
    """Settings with "auto" replaced by facts: mode from the length, batch from the device and the frame size.

    Raises:
        ConfigError: a number out of range.
    """
    if settings.top_k < 1 or settings.batch < 0 or (settings.short_side is not None and settings.short_side < 32):
        raise ConfigError("top-k must be 1 or more, batch 0 (auto) or more, short-side 32 or more")
    mode = settings.mode
    if mode == "auto":
        known = frames.length is not None and not frames.is_live
        mode = "exact" if known and (frames.length or 0) <= EXACT_UP_TO else "bounded"
    batch = settings.batch
    if batch == 0:
        # A live picture must not wait for its successors; a CPU gains little beyond a few frames.
        batch = 1 if frames.is_live else 4 if device.type == "cpu" else 16
        if frames.size[0] * frames.size[1] > 1920 * 1088:
            batch = max(1, batch // 4)
    return replace(settings, mode=mode, batch=batch)


def kept_slots(
    tracker: QueryTracker, own_scores: npt.NDArray[np.float64], settings: StreamSettings
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


def pair_ids(best: RankedPairs, queries: int) -> list[int]:
    """Track ids of ranked pairs: slot + 1, and one more round of Q for each further class of the same slot."""
    seen: dict[int, int] = {}
    ids = []
    for slot in best.slots.tolist():
        ids.append(slot + 1 + queries * seen.get(slot, 0))
        seen[slot] = seen.get(slot, 0) + 1
    return ids


def _frame_result(
    frame: Frame, size: tuple[int, int], tracker: QueryTracker, slots: npt.NDArray[np.int64], masks: list[Rle | None]
) -> FrameResult:
    scores = tracker.scores[slots]
    labels = scores.argmax(1)
    return FrameResult(
        index=frame.index,
        size=size,
        track_ids=tuple(int(slot) + 1 for slot in slots),
        category_ids=tuple(int(label) + 1 for label in labels),
        scores=tuple(float(score) for score in scores.max(1)),
        masks=tuple(masks),
        time_s=frame.time_s,
    )


def _batches(frames: Iterable[Frame], size: int) -> Iterator[tuple[list[Frame], VideoError | None]]:
    """Batches of up to ``size`` frames; the last may come with the error that ended the source."""
    batch: list[Frame] = []
    iterator = iter(frames)
    while True:
        try:
            frame = next(iterator, None)
        except VideoError as error:
            yield batch, error
            return
        if frame is not None:
            batch.append(frame)
        if frame is None or len(batch) == size:
            if batch:
                yield batch, None
            batch = []
        if frame is None:
            return


class _opened:  # noqa: N801 - used like the function `open`
    """A source as an open FrameSource; closes only what it opened."""

    def __init__(self, source: "str | Path | int | Sequence[str | Path] | FrameSource") -> None:
        self._own = isinstance(source, str | Path | int | Sequence)
        self._frames: Any = open_frames(source) if isinstance(source, str | Path | int | Sequence) else source

    def __enter__(self) -> FrameSource:
        frames: FrameSource = self._frames
        return frames

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._frames.close()
