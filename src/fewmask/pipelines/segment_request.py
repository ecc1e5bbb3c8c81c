"""What a user of `fewmask segment` asked for, whichever method answers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from fewmask.errors import ConfigError

INSTANCES = ("auto", "none", "components", "minvis", "objects")
"""What `SegmentRequest.instances` may be."""


@dataclass(frozen=True)
class SegmentRequest:
    """One call of `fewmask segment`; "auto" and None are resolved once the source and the machine are known.

    Attributes:
        support: folder of masked pictures, or COCO file: find their class in place of every object (VIPMT).
        negative: like ``support``, of what must not be found.
        instances: how what is found becomes objects with ids, one of `INSTANCES`; see `objects_asked`.
        pool: an index of unlabelled videos: find what the source and its supports have in common (Self-Shot).
        shots: supports in all.
        support_video: videos or pictures that support, before those of the pool.
        random_supports: draw from the pool at random instead of retrieving.
        encoder: with which to search the pool; "auto" asks the pool.
        seed: of random choices.
        min_score: tracks below it are in tracks.json only; None = what suits the method.
    """

    source: str | int
    out: Path
    support: Path | None = None
    negative: Path | None = None
    instances: str = "auto"
    pool: Path | None = None
    shots: int = 5
    support_video: tuple[Path, ...] = ()
    random_supports: bool = False
    encoder: str = "auto"
    seed: int = 0
    weights: str = "small"
    device: str = "auto"
    precision: str = "auto"
    batch: str = "auto"
    top_k: int = 10
    min_score: float | None = None
    ranking: str = "auto"
    mode: str = "auto"
    short_side: int | None = None
    exports: tuple[str, ...] = ()
    overlay: bool = True
    masks: bool = True
    skip_broken: bool = False
    resume: bool = False
    command: Sequence[str] = ()


def refuse_options(request: SegmentRequest, names: Sequence[str], beside: str) -> None:
    """Refuse options of another method, rather than ignore them.

    Args:
        names: fields of the request that must have their defaults.
        beside: how the user chose the method, for the message: "--support", "without --support".

    Raises:
        ConfigError: one of them was set.
    """
    defaults = {field.name: field.default for field in fields(SegmentRequest)}
    for name in names:
        if getattr(request, name) != defaults[name]:
            where = beside if beside.startswith("without") else f"with {beside}"
            raise ConfigError(f"--{name.replace('_', '-')} cannot be used {where}; leave it out")


def objects_asked(request: SegmentRequest, choices: Collection[str]) -> str:
    """How what is found becomes objects: "auto" is ``objects`` with the bundled weights, whose own outlines are coarse.

    Args:
        choices: those of `INSTANCES` that the method knows.

    Raises:
        ConfigError: another one was asked for.
    """
    if request.instances not in choices:
        raise ConfigError(f"instances {request.instances!r} is unknown here; choose from {', '.join(choices)}")
    if request.instances != "auto":
        return request.instances
    return "objects" if request.weights == "small" and not Path("small").is_dir() else "none"
