"""`fewmask segment SOURCE --out DIR`: every object of the source, with ids (MinVIS)."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Literal, cast

from fewmask.exports.run_outputs import RunSummary
from fewmask.minvis.pretrained import folder_of
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import Mode, Ranking, StreamSettings, resolve
from fewmask.models.weights_input import weights_input
from fewmask.pipelines.early_checks import SourceFacts
from fewmask.pipelines.runner import open_run, stream_to_directory
from fewmask.pipelines.segment_request import EveryObject, RunOptions

MIN_SCORE = 0.3
"""Tracks shown by default."""


def run_every_object(
    options: RunOptions, request: EveryObject, facts: SourceFacts, progress: Callable[[int, int | None], None]
) -> RunSummary:
    """Every object of ``options.source``; see `fewmask.pipelines.segment.run_segment`."""
    model = MinVIS.from_pretrained(
        options.weights,
        device=options.device,
        precision=cast(Literal["auto", "fp32", "bf16", "fp16"], request.precision),
        runtime=request.runtime,
    )
    wanted = StreamSettings(
        top_k=request.top_k,
        mode=cast(Mode, request.mode),
        ranking=cast(Ranking, request.ranking),
        batch=0 if request.batch == "auto" else int(request.batch),
        short_side=request.short_side,
    )
    device = model.segmenter.device
    settings = resolve(wanted, facts, device)
    outputs = options.outputs(MIN_SCORE)
    recorded = {**asdict(settings), "precision": request.precision}
    if request.runtime != "torch":  # runs of before know no runtimes, and can be gone on with
        recorded["runtime"] = request.runtime
    inputs = {"weights": weights_input(folder_of(options.weights))}
    with open_run(options, outputs, device, inputs=inputs, settings=recorded) as run:
        return stream_to_directory(model.open_stream(settings), options, run, outputs, progress=progress)
