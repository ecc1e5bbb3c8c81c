"""What a user of `fewmask segment` asks for: how any method runs, and one small request for each of the three."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fewmask.errors import ConfigError
from fewmask.media.given_path import expanded
from fewmask.pipelines.early_checks import check_choice

if TYPE_CHECKING:
    from fewmask.exports.run_outputs import Outputs

SMALL = "small"
"""The weights that come with fewmask, for every method."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a source becomes a run directory, whichever method does it; "auto" is resolved once the machine is known.

    Attributes:
        source: what `open_frames` takes.
        out: folder of the run.
        weights: ``small``, a folder or, for `EveryObject`, a name on the hub.
        device: auto, cpu, cuda, cuda:N or mps.
        exports: annotation files beside the results; see `fewmask.exports.run_outputs.EXPORTS`.
        overlay: write ``overlay.mp4``.
        masks: write palette PNGs.
        min_score: tracks below it are in ``tracks.json`` only; None = what suits the method.
        scores: write them into the overlay.
        all_tracks: draw tracks inside a better one and tiny ones too.
        skip_broken: go on after frames that cannot be decoded.
        resume: continue the run in ``out``.
        command: as typed, for the manifest.
    """

    source: str | int
    out: Path
    weights: str = SMALL
    device: str = "auto"
    exports: tuple[str, ...] = ()
    overlay: bool = True
    masks: bool = True
    min_score: float | None = None
    scores: bool = False
    all_tracks: bool = False
    skip_broken: bool = False
    resume: bool = False
    command: Sequence[str] = ()

    def outputs(self, min_score: float, min_share: float = 0.0) -> "Outputs":
        """What the run leaves, with the method's own ``min_score`` and ``min_share`` where the user sets no score."""
        from fewmask.exports.run_outputs import Outputs

        if self.min_score is not None:
            min_score, min_share = self.min_score, 0.0
        return Outputs(
            self.overlay, self.masks, self.exports, min_score, self.scores, self.all_tracks, min_share=min_share
        )


@dataclass(frozen=True, kw_only=True)
class EveryObject:
    """Every object of the source, with ids (MinVIS).

    Attributes:
        precision: of matrix products: auto, fp32, bf16 or fp16. The other two methods compute in float32.
        batch: frames per forward pass, or auto.
        top_k: tracks in ``tracks.json``.
        ranking, mode, short_side: as in `fewmask.minvis.stream_settings.StreamSettings`.
        runtime: what computes the network: torch, or on CPUs onnxruntime or openvino.

    Raises:
        ConfigError: a word or number that none of them takes, or a runtime that is not installed.
    """

    precision: str = "auto"
    batch: str = "auto"
    top_k: int = 10
    ranking: str = "auto"
    mode: str = "auto"
    short_side: int | None = None
    runtime: str = "torch"

    def __post_init__(self) -> None:
        check_choice(self.runtime, ("torch", "onnxruntime", "openvino"), "runtime")
        if self.runtime != "torch" and find_spec(self.runtime) is None:
            raise ConfigError(f"{self.runtime} is not installed: pip install 'fewmask[runtime]'")
        check_choice(self.precision, ("auto", "fp32", "bf16", "fp16"), "precision")
        check_choice(self.ranking, ("auto", "paper", "mask-quality"), "ranking")
        check_choice(self.mode, ("auto", "exact", "bounded"), "mode")
        if self.batch != "auto" and not self.batch.isdecimal():
            raise ConfigError(f"batch {self.batch!r} must be auto or a number")


@dataclass(frozen=True, kw_only=True)
class ClassShown:
    """The class that masked pictures show (VIPMT).

    Attributes:
        support: folder of pictures with masks, or COCO file.
        negative: the same, of what must not be found.
        instances: how the class becomes objects with ids, one of `INSTANCES`; see `objects_asked`.
        seed: of the choice of memory frames.

    Raises:
        ConfigError: a word that ``instances`` does not take, or no supports there.
    """

    INSTANCES = ("auto", "none", "components", "minvis", "objects")

    support: Path
    negative: Path | None = None
    instances: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.instances, self.INSTANCES, "instances")
        for option, path in (("support", self.support), ("negative", self.negative)):
            if path is not None and not expanded(path).exists():
                raise ConfigError(f"{path}: no such file or folder; --{option} takes pictures with masks")


@dataclass(frozen=True, kw_only=True)
class SharedWithPool:
    """What the source has in common with videos like it (Self-Shot); needs ``pool``, ``support_video`` or both.

    Attributes:
        pool: an index of unlabelled videos, from which supports are retrieved.
        shots: supports in all.
        support_video: videos or pictures that support, before those of the pool.
        random_supports: draw from the pool at random instead of retrieving.
        encoder: with which to search the pool; "auto" asks the pool.
        instances: how what is found becomes objects, one of `INSTANCES`; see `objects_asked`.
        seed: of the random draw.

    Raises:
        ConfigError: options that do not go together, or nothing where the pool or a support should be.
    """

    INSTANCES = ("auto", "none", "objects")

    pool: Path | None = None
    shots: int = 5
    support_video: tuple[Path, ...] = ()
    random_supports: bool = False
    encoder: str = "auto"
    instances: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.instances, self.INSTANCES, "instances")
        if self.pool is None:
            if not self.support_video:
                raise ConfigError("no supports; give --pool an index, or --support-video a video or picture")
            for option, is_set in (
                ("--random-supports", self.random_supports), ("--encoder", self.encoder != "auto"),
            ):  # fmt: skip
                if is_set:
                    raise ConfigError(f"{option} cannot be used without --pool; leave it out")
        elif not expanded(self.pool).is_dir():
            raise ConfigError(f"{self.pool}: no index there; make one with `fewmask index`")
        if self.seed and not self.random_supports:
            raise ConfigError("--seed cannot be used without --random-supports; leave it out")
        if self.shots < max(1, len(self.support_video)):
            raise ConfigError(f"{len(self.support_video)} supports are given for -k {self.shots}; raise -k")
        for path in self.support_video:
            if not expanded(path).exists():
                raise ConfigError(f"{path}: no such file or folder; --support-video takes a video or picture")


SegmentRequest: TypeAlias = EveryObject | ClassShown | SharedWithPool


def objects_asked(instances: str, weights: str) -> str:
    """How what is found becomes objects; "auto" is ``objects`` with the bundled weights, whose outlines are coarse."""
    if instances != "auto":
        return instances
    return "objects" if weights == SMALL and not Path(SMALL).is_dir() else "none"
