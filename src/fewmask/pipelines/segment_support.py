"""`fewmask segment SOURCE --support DIR --out OUT`: the class shown in K masked pictures, in every frame (VIPMT)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fewmask.exports.run_outputs import RunSummary
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
from fewmask.pipelines.kinship import Kinship
from fewmask.pipelines.runner import open_run, stream_to_directory
from fewmask.pipelines.segment_request import ClassShown, RunOptions, objects_asked
from fewmask.vipmt.model import BUNDLED, VIPMT, FittedVIPMT, clips_of
from fewmask.vipmt.stream import ClipStream
from fewmask.vipmt.support import SupportSet, read_support

MIN_SCORE, MIN_SHARE = 0.0, 0.05
"""Tracks shown by default. Their scores are the network's guess of its own IoU, of which only the order says something:
so no score is too low, but what flickers up beside the track that is most certain over most frames is hidden."""


class ClassStream:
    """The `ResultStream` of a fitted VIPMT: one track per class, per connected component, or per object.

    Args:
        instances: one of `ClassShown.INSTANCES` but ``auto``; ``minvis`` and ``objects`` run the bundled class-agnostic
            MinVIS beside it, the first to take the class mask apart, the second for its outlines.
        supports: what ``fitted`` was fitted to; ``objects`` compares what MinVIS sees in them and in the video.
        seed: of the choice of memory frames.
    """

    live_tracks = None

    def __init__(
        self, fitted: FittedVIPMT, *, instances: str = "none", supports: SupportSet | None = None, seed: int = 0
    ) -> None:
        self._fitted = fitted
        self._objects: QueryInstances | None = None
        if instances in ("minvis", "objects"):
            model = MinVIS.from_pretrained(device=str(fitted.network.device), precision="fp32")
            outlines = instances == "objects"
            kin = Kinship.of_supports(model.segmenter, supports) if outlines and supports is not None else None
            self._objects = QueryInstances(model, outlines=outlines, kinship=kin)
        self._clips = ClipStream(fitted.network, fitted.support, seed=seed, instances=instances == "components")
        self._length = fitted.network.config.clip_length
        self._whole = True  # the last clip had its full length

    @property
    def categories(self) -> Mapping[int, str]:
        """Class names in the supports' order, from 1."""
        return self._fitted.categories

    def run(self, frames: Iterable[Frame]) -> Iterator[Sequence[FrameResult]]:
        """One group per clip; the next clips are decoded meanwhile."""
        with Prefetch(frames, 2 * self._length) as decoded:
            for clip in clips_of(decoded, self._length):
                self._whole = len(clip) == self._length
                results = self._clips.step(clip)
                yield results if self._objects is None else self._objects.step(clip, results)

    def state(self) -> dict[str, Any] | None:
        """None after a short clip: an uninterrupted run would have cut the clips elsewhere."""
        if not self._whole:
            return None
        objects = None if self._objects is None else self._objects.state()
        return {"clips": self._clips.state(), "objects": objects}

    def restore(self, state: dict[str, Any], reread: Reread) -> None:
        """Encode the remembered frames once more."""
        self._clips.restore(state["clips"], reread)
        if self._objects is not None:
            self._objects.restore(state["objects"])

    def final_tracks(self) -> None:
        """None: frame results are final when they come."""


def run_class_shown(
    options: RunOptions, request: ClassShown, facts: SourceFacts, progress: Callable[[int, int | None], None]
) -> RunSummary:
    """The class of ``request.support``; see `fewmask.pipelines.segment.run_segment`."""
    del facts  # frames of any kind of source are taken
    instances = objects_asked(request.instances, options.weights)
    supports = _supports(request)
    model = VIPMT.from_pretrained(options.weights, device=options.device)
    outputs = options.outputs(MIN_SCORE, MIN_SHARE)
    run = open_run(
        options,
        outputs,
        model.network.device,
        inputs={
            "support": Noted(str(request.support)),  # what was read of it is among the settings
            "weights": weights_input(options.weights, BUNDLED),
            "objects": folder_of() if instances in ("minvis", "objects") else None,
        },
        settings={
            "supports": {name: len(pictures) for name, pictures in supports.classes.items()},
            "negatives": len(supports.negatives),
            "supports_sha256": _digest(supports),
            "instances": instances,
            "memory_seed": request.seed,
        },
    )
    with run:
        stream = ClassStream(model.fit(supports), instances=instances, supports=supports, seed=request.seed)
        return stream_to_directory(stream, options, run, outputs, progress=progress)


def _supports(request: ClassShown) -> SupportSet:
    """The supports, with every picture of ``--negative`` among what must not be found."""
    supports = read_support(request.support)
    if request.negative is None:
        return supports
    shown = read_support(request.negative)
    more = [picture for pictures in shown.classes.values() for picture in pictures]
    return replace(supports, negatives=(*supports.negatives, *more, *shown.negatives))


def _digest(supports: SupportSet) -> str:
    """Tells whether a resumed run sees the same supports, wherever in the folder a change was made."""
    digest = hashlib.sha256()
    for name, pictures in (*supports.classes.items(), ("", supports.negatives)):
        digest.update(name.encode("utf-8", "surrogateescape"))
        for picture in pictures:
            digest.update(repr(picture.rgb.shape).encode() + picture.rgb.tobytes() + picture.mask.tobytes())
    return digest.hexdigest()
