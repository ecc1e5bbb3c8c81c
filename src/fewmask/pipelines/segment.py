"""From a user's request to a finished run directory: everything that can be told at once is, before a network loads."""

from collections.abc import Callable
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING

from fewmask.pipelines.early_checks import check_device, check_free, check_source, check_weights
from fewmask.pipelines.segment_request import ClassShown, EveryObject, RunOptions, SegmentRequest, SharedWithPool

if TYPE_CHECKING:
    from fewmask.exports.run_outputs import RunSummary

METHODS = {
    EveryObject: ("segment_every", "run_every_object"),
    ClassShown: ("segment_support", "run_class_shown"),
    SharedWithPool: ("segment_pool", "run_shared_with_pool"),
}
"""Request -> module beside this one, and its function; imported when asked for, for the networks take seconds."""


def run_segment(
    options: RunOptions,
    request: SegmentRequest | None = None,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> "RunSummary":
    """Segment ``options.source`` into ``options.out`` with the method of the request.

    Args:
        options: source, folder, weights, outputs.
        request: one of the three; None = `EveryObject` as it comes.
        progress: called with the frames done and their number, where known.

    Raises:
        FewmaskError: anything wrong with the request, the weights or the source; results so far are kept.
    """
    request = request or EveryObject()
    check_device(options.device)
    check_weights(options.weights)
    check_free(options.out, resume=options.resume)
    facts = check_source(options.source, resume=options.resume, skip_broken=options.skip_broken)
    options.outputs(0.0)  # refuses unknown exports
    module, function = METHODS[type(request)]
    run: Callable[..., RunSummary] = getattr(import_module(f"fewmask.pipelines.{module}"), function)
    return run(options, request, facts, progress)


def demo_clip(*, short: bool = False) -> Path:
    """The clip of 96 frames that ships with fewmask, or its first 24."""
    return Path(str(resources.files("fewmask.media") / "clips" / ("demo_short.mp4" if short else "demo.mp4")))


def demo_supports() -> Path:
    """Five pictures of persons with masks that ship with fewmask."""
    return Path(str(resources.files("fewmask.vipmt") / "demo" / "person"))
