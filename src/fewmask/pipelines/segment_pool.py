"""`fewmask segment SOURCE --pool INDEX --out OUT`: what SOURCE and its supports have in common (Self-Shot).

The supports are retrieved from the pool, given by the user, or both. Which they were is in ``supports.json`` and the
manifest, and ``supports.png`` shows them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fewmask.addresses import showable
from fewmask.errors import ConfigError
from fewmask.exports.run_outputs import RunSummary
from fewmask.media import rle
from fewmask.media.atomic import write_json
from fewmask.media.frames import Frame
from fewmask.media.identity import Noted
from fewmask.media.prefetch import Prefetch
from fewmask.media.result_stream import Reread
from fewmask.media.results import FrameResult
from fewmask.minvis.pretrained import folder_of
from fewmask.minvis.stream import MinVIS
from fewmask.models.weights_input import weights_input
from fewmask.pipelines.class_instances import QueryInstances
from fewmask.pipelines.early_checks import SourceFacts
from fewmask.pipelines.runner import open_run, stream_to_directory
from fewmask.pipelines.segment_request import RunOptions, SharedWithPool, objects_asked
from fewmask.retrieval.contact_sheet import draw_contact_sheet
from fewmask.retrieval.embedders import embedder_of
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.retrieve import Retrieval, random_clips, retrieve
from fewmask.selfshot.segment import BUNDLED, CATEGORIES, SelfShot, windows
from fewmask.selfshot.stream import CATEGORY, SelfShotStream, StreamSettings
from fewmask.selfshot.supports import SupportClip, choose_supports, whole_clip

MIN_SCORE = 0.5
"""Tracks shown by default; doubtful ones down to `LISTED` are in tracks.json."""
LISTED = 0.2


class CommonInstances:
    """The `ResultStream` of the transformer with its supports.

    Args:
        stream: fresh.
        ahead: frames decoded ahead.
        objects: shows MinVIS's objects in place of the transformer's masks, see `common_region`.
        min_score: the transformer's tracks below it are no part of that region.
    """

    categories: Mapping[int, str] = CATEGORIES
    live_tracks = None

    def __init__(
        self, stream: SelfShotStream, ahead: int, objects: QueryInstances | None = None, min_score: float = LISTED
    ) -> None:
        self._stream, self._ahead, self._objects, self._min_score = stream, ahead, objects, min_score

    def run(self, frames: Iterable[Frame]) -> Iterator[Sequence[FrameResult]]:
        """One group per window; the next frames are decoded meanwhile."""
        with Prefetch(frames, self._ahead) as decoded:
            if self._objects is None:
                yield from windows(self._stream, decoded)
                return
            waiting: deque[Frame] = deque()  # those whose results have not come: a window at most
            for results in windows(self._stream, _remembered(decoded, waiting)):
                clip = [waiting.popleft() for _ in results]
                yield self._objects.step(clip, [common_region(result, self._min_score) for result in results])

    def state(self) -> dict[str, Any] | None:
        """The tracks of the last window and which frames it shares with the next."""
        state = self._stream.state()
        if state is None or self._objects is None:
            return state
        return {**state, "objects": self._objects.state()}

    def restore(self, state: dict[str, Any], reread: Reread) -> None:
        """Read the shared frames once more."""
        self._stream.restore(state, reread(state["frames"]))
        if self._objects is not None:
            self._objects.restore(state["objects"])

    def final_tracks(self) -> None:
        """None: frame results are final when they come."""


def common_region(result: FrameResult, min_score: float) -> FrameResult:
    """All that query and supports share, as one row; its score is that of the best of the tracks in view.

    Tracks below ``min_score`` do not count. Where nothing is in view the row is there, without a mask.
    """
    seen = [(score, mask) for score, mask in zip(result.scores, result.masks, strict=True) if mask is not None]
    rows = [(score, mask) for score, mask in seen if score >= min_score]
    together = rle.encode(np.any(rle.decode_many([mask for _, mask in rows]), axis=0)) if rows else None
    best = max((score for score, _ in rows), default=0.0)
    return FrameResult(result.index, result.size, (CATEGORY,), (CATEGORY,), (best,), (together,), result.time_s)


def _remembered(frames: Iterable[Frame], waiting: deque[Frame]) -> Iterator[Frame]:
    for frame in frames:
        waiting.append(frame)
        yield frame


def run_shared_with_pool(
    options: RunOptions, request: SharedWithPool, facts: SourceFacts, progress: Callable[[int, int | None], None]
) -> RunSummary:
    """What the source and its supports have in common; see `fewmask.pipelines.segment.run_segment`."""
    source = str(options.source)
    if facts.is_live:
        raise ConfigError(f"{showable(source)}: a live source cannot be looked up in a pool; record some of it first")
    instances = objects_asked(request.instances, options.weights)
    found, supports = _supports(options, request, source)
    outputs = options.outputs(MIN_SCORE)
    # As votes for objects doubtful tracks count too, unless the user says from where on.
    settings = StreamSettings(min_score=min(LISTED, outputs.min_score))
    vote_from = LISTED if options.min_score is None else options.min_score
    model = SelfShot.from_pretrained(options.weights, device=options.device)
    model.fit(supports)
    listed = [{**asdict(support.place), "origin": support.origin, "score": support.score} for support in supports]
    # What a resumed run must have again: not the cosines, whose last digits depend on the number of threads.
    same = [support.place.frames for support in supports]
    given = {f"support {number}": support.place.video for number, support in enumerate(supports, 1)}
    run = open_run(
        options,
        outputs,
        model.device,
        inputs={
            "weights": weights_input(options.weights, BUNDLED),
            "objects": folder_of() if instances == "objects" else None,
            "pool": None if request.pool is None else Noted(request.pool),
            **given,
        },
        settings={"supports": same, "instances": instances, **asdict(settings)},
    )
    with run:
        copies = list(found.copies) if found else []
        record = {"query": showable(source), "supports": listed, "copies": copies}
        write_json(run.path / "supports.json", record, indent=1)
        draw_contact_sheet(whole_clip(source), [(s.label, s.place) for s in supports], run.path / "supports.png")
        objects = None
        if instances == "objects":
            objects = QueryInstances(MinVIS.from_pretrained(device=str(model.device), precision="fp32"), outlines=True)
        stream = CommonInstances(model.open_stream(settings), 2 * model.window, objects, vote_from)
        return stream_to_directory(stream, options, run, outputs, progress=progress)


def _supports(options: RunOptions, request: SharedWithPool, source: str) -> tuple[Retrieval | None, list[SupportClip]]:
    """Given ones first, then as many from the pool as are wanted in all."""
    wanted = request.shots - len(request.support_video)
    if request.pool is None or wanted == 0:
        return None, choose_supports(None, request.support_video, request.shots)
    pool = Pool.open(request.pool)
    if request.random_supports:
        drawn = random_clips(pool, wanted, source=source, besides=request.support_video, seed=request.seed)
        return None, choose_supports(None, request.support_video, request.shots, random=drawn)
    embedder = embedder_of(pool, request.encoder, device=options.device)
    found = retrieve(source, pool, embedder, wanted, given=request.support_video)
    return found, choose_supports(found, request.support_video, request.shots)
