"""What a user of `fewmask grow` asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewmask.errors import ConfigError
from fewmask.pipelines.grow.agreement import KEEP
from fewmask.pipelines.grow.group_choice import MOST, GroupChoice

SKIPPABLE = ("retrieve", "background", "teach")
"""Stages that can be left out: search every video, keep the background network, stop at the dataset."""
UNTIL = ("groups", "supports", "keep", "teach")
"""Stages after which a run can be told to stop, to be looked at and gone on with."""


@dataclass(frozen=True)
class GrowRequest:
    """One call of `fewmask grow`.

    Attributes:
        videos: files, folders of images, globs, addresses; what cannot be read is skipped.
        out: folder of the run.
        like: what is wanted: pictures with or without masks, clips, support folders, COCO files. Empty: every kind
            that stands out.
        name: of the kind that ``like`` shows.
        rounds: most rounds of find and teach.
        choice: of groups, where nothing is shown.
        most: groups that are taught by default.
        until: stop after this stage of the first round.
        skip: stages to leave out, some of `SKIPPABLE`.
        clips: clips of the pool to search per kind; 0 = a fifth of them, at least 20.
        frame_step: one frame in so many is looked at.
        keep_every: of those, one in so many enters the dataset.
        keep: least confidence of what is kept, in (0, 1).
        weights: of the segmenter that begins.
        few_shot: weights of the few-shot network.
        background: weights of the background network; None = bundled.
        labelled: COCO file of what is known already: joins the training, and its held-out part measures what is lost.
        images: folder of its pictures.
        steps: of teaching, in every round.
        workers: processes that mine, embed and look; 0 = one per core.
        ray: address of a Ray cluster for them; None = this machine.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: of every random choice.
        resume: go on with the run in ``out``.
        command: as typed.
    """

    videos: Sequence[str]
    out: Path
    like: Sequence[Path] = ()
    name: str = "wanted"
    rounds: int = 2
    choice: GroupChoice = field(default_factory=GroupChoice)
    most: int = MOST
    until: str | None = None
    skip: frozenset[str] = frozenset()
    clips: int = 0
    frame_step: int = 3
    keep_every: int = 2
    keep: float = KEEP
    weights: str = "small"
    few_shot: str = "small"
    background: Path | None = None
    labelled: Path | None = None
    images: Path | None = None
    steps: int = 200
    workers: int = 0
    ray: str | None = None
    device: str = "auto"
    seed: int = 0
    resume: bool = False
    command: Sequence[str] = ("grow",)

    def check(self) -> None:
        """Refuse what cannot be done, before anything is.

        Raises:
            ConfigError: says which option, and what it may be.
        """
        if not self.videos:
            raise ConfigError("no video to grow from; name files, folders of images, globs or addresses")
        for option, value in (("rounds", self.rounds), ("frame-step", self.frame_step), ("steps", self.steps),
                              ("keep-every", self.keep_every), ("most", self.most)):  # fmt: skip
            if value < 1:
                raise ConfigError(f"--{option} is {value}; at least 1 is needed")
        if not 0 < self.keep < 1:
            raise ConfigError(f"--keep is {self.keep}; it is a confidence, above 0 and below 1")
        if self.clips < 0 or self.workers < 0:
            raise ConfigError("--clips and --workers are 0 (chosen by the run) or more")
        if self.until is not None and self.until not in UNTIL:
            raise ConfigError(f"--until {self.until!r} is no stage; use one of {', '.join(UNTIL)}")
        if unknown := sorted(self.skip - set(SKIPPABLE)):
            raise ConfigError(f"--skip {unknown[0]!r} cannot be left out; only {', '.join(SKIPPABLE)} can")
        if self.like and self.choice != GroupChoice():
            raise ConfigError("--like says what is wanted; --group and --groups choose where nothing is shown")
        for path in (*self.like, self.labelled, self.background):
            if path is not None and not path.exists():
                raise ConfigError(f"{path}: no such file or folder; check the path")
