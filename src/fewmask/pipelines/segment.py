"""From a user's request to a finished run directory: which method, model and settings, recorded in the manifest."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Literal, cast, get_args

from fewmask.errors import ConfigError
from fewmask.exports.run_outputs import Outputs, RunSummary
from fewmask.media.addresses import showable
from fewmask.media.frames import open_frames
from fewmask.media.run_directory import RunDirectory
from fewmask.minvis.pretrained import folder_of
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import Mode, Ranking, StreamSettings, resolve
from fewmask.models.weights_input import weights_input
from fewmask.pipelines.runner import stream_to_directory
from fewmask.pipelines.segment_request import SegmentRequest, refuse_options

MIN_SCORE = 0.3
"""Tracks shown by default."""


def run_segment(
    request: SegmentRequest, progress: Callable[[int, int | None], None] = lambda _done, _total: None
) -> RunSummary:
    """Segment a source into ``request.out`` with the method that the request asks for.

    Raises:
        FewmaskError: anything wrong with the request, the weights or the source; results so far are kept.
    """
    if request.support is not None:
        from fewmask.pipelines.segment_support import run_segment_support

        return run_segment_support(request, progress)
    if request.pool is not None or request.support_video:
        from fewmask.pipelines.segment_pool import run_segment_pool

        return run_segment_pool(request, progress)
    return _run_every_object(request, progress)


def _run_every_object(request: SegmentRequest, progress: Callable[[int, int | None], None]) -> RunSummary:
    """Every object, with MinVIS."""
    refuse_options(request, ("negative", "instances", "seed"), "without --support")
    refuse_options(request, ("shots", "random_supports", "encoder"), "without --pool")
    if request.batch != "auto" and not request.batch.isdigit():
        raise ConfigError(f"batch {request.batch!r} must be auto or a number")
    mode = _one_of(request.mode, get_args(Mode), "mode")
    ranking = _one_of(request.ranking, get_args(Ranking), "ranking")
    precision = _one_of(request.precision, ("auto", "fp32", "bf16", "fp16"), "precision")
    min_score = MIN_SCORE if request.min_score is None else request.min_score
    outputs = Outputs(request.overlay, request.masks, request.exports, min_score)
    with open_frames(request.source, skip_broken=request.skip_broken) as frames:  # before the model: fail at once
        if request.resume and frames.is_live:
            raise ConfigError(f"{showable(str(request.source))}: a live source cannot be resumed; use another --out")
        model = MinVIS.from_pretrained(
            request.weights, device=request.device, precision=cast(Literal["auto", "fp32", "bf16", "fp16"], precision)
        )
        wanted = StreamSettings(
            top_k=request.top_k, mode=cast(Mode, mode), ranking=cast(Ranking, ranking),
            batch=0 if request.batch == "auto" else int(request.batch), short_side=request.short_side,
        )  # fmt: skip
        settings = resolve(wanted, frames, model.segmenter.device)
    run = RunDirectory.create(
        request.out,
        command=list(request.command),
        inputs={"source": request.source, "weights": weights_input(folder_of(request.weights))},
        settings={
            **asdict(settings), **outputs.settings, "precision": precision,
            "device": model.segmenter.device.type, "skip_broken": request.skip_broken,
        },
        resume=request.resume,
    )  # fmt: skip
    with run:
        stream = model.open_stream(settings)
        return stream_to_directory(
            stream, request.source, run, outputs, skip_broken=request.skip_broken, progress=progress
        )


def _one_of(value: str, choices: Sequence[str], what: str) -> str:
    if value not in choices:
        raise ConfigError(f"{what} {value!r} is unknown; choose from {', '.join(choices)}")
    return value


def demo_clip() -> Path:
    """The clip that ships with fewmask."""
    return Path(str(resources.files("fewmask.media") / "clips" / "demo.mp4"))


def demo_supports() -> Path:
    """Five pictures of persons with masks that ship with fewmask."""
    return Path(str(resources.files("fewmask.vipmt") / "demo" / "person"))
