"""What a user of `fewmask mine` asks for, and what can be told wrong about it before the networks load."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewmask.pipelines.early_checks import (
    check_choice,
    check_device,
    check_files,
    check_free,
    check_some,
    check_weights,
)


@dataclass(frozen=True)
class MineRequest:
    """What the user asked for.

    Attributes:
        videos: files, folders of images, globs, addresses.
        out: folder of the dataset.
        proposals: "minvis", "maskrcnn" or "sam".
        weights: of the proposer; None = the bundled MinVIS segmenter.
        background: weights of the background network; None = the bundled ones.
        flow: "dis" or "raft".
        flow_weights: of RAFT; None = torchvision's, from its cache or downloaded.
        settings_file: a TOML file of `MiningSettings`.
        settings: single settings, over those of the file.
        workers: processes; 0 = one per core, at most eight and one per video, and one on a GPU.
        ray: address of a Ray cluster that the processes run on, "local" for one of their own; None = this machine.
        device: auto, cpu, cuda, cuda:N or mps.
        resume: go on with the run in ``out``.
        command: as typed.
    """

    videos: Sequence[str]
    out: Path
    proposals: str = "minvis"
    weights: str | None = None
    background: Path | None = None
    flow: str = "dis"
    flow_weights: Path | None = None
    settings_file: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    workers: int = 0
    ray: str | None = None
    device: str = "auto"
    resume: bool = False
    command: Sequence[str] = ("mine",)

    def check(self) -> None:
        """Words, paths and the folder.

        Raises:
            FewmaskError: one of them cannot be; the videos are looked at one by one, and bad ones are skipped.
        """
        check_choice(self.proposals, ("minvis", "maskrcnn", "sam"), "proposals")
        check_choice(self.flow, ("dis", "raft"), "flow")
        check_device(self.device)
        check_files(
            {"--background": self.background, "--flow-weights": self.flow_weights, "--settings": self.settings_file}
        )
        if self.weights is not None:
            check_weights(self.weights)
        if not self.resume:
            check_some(list(self.videos))
        check_free(self.out, resume=self.resume)


@dataclass(frozen=True)
class RefineRequest:
    """How to refine.

    Attributes:
        strategy: "finetune" trains on the mined masks alone, "retrain" on labelled and mined pictures mixed.
        labelled: COCO file of the classes seen so far. Its held-out part measures what refining does to them; the
            rest is what "retrain" mixes in.
        images: folder of its pictures; None = ``images`` beside the file.
        hold_out: images of ``labelled`` whose id it divides are held out.
        require: use only images of ``labelled`` with this field true in the file.
        rounds: mine and refine so many times, each with the weights of the round before.
        recipe: a MinVIS recipe (its data rules are not used) or a Mask R-CNN recipe, as the proposals are, instead of
            those of `fewmask.pipelines.refine`.
        steps: instead of the recipe's number of steps.
    """

    strategy: str = "finetune"
    labelled: Path | None = None
    images: Path | None = None
    hold_out: int = 5
    require: str | None = None
    rounds: int = 1
    recipe: Path | None = None
    steps: int | None = None

    def check(self) -> None:
        """The words and paths.

        Raises:
            ConfigError: one of them cannot be.
        """
        check_choice(self.strategy, ("finetune", "retrain"), "refine")
        check_files({"--labelled": self.labelled, "--images": self.images, "--refine-recipe": self.recipe})
