"""What every family of benchmarks is given: request, places of the data, stages, and what trains and repeats."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from fewmask.datasets.draws import ranked
from fewmask.datasets.presence import video_names
from fewmask.datasets.video_subset import keep_videos
from fewmask.datasets.ytvis_types import YtvisDataset, YtvisResult, result_from_masks
from fewmask.media.atomic import write_json
from fewmask.media.own_files import read_json
from fewmask.pipelines.benchmarks.registry import Benchmark
from fewmask.pipelines.benchmarks.request import BenchmarkRequest
from fewmask.pipelines.grow.stages import Stages
from fewmask.training.loop import TrainTask, train
from fewmask.training.settings import TrainSettings

Item = TypeVar("Item")
Record = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """One run of one benchmark."""

    request: BenchmarkRequest
    benchmark: Benchmark
    places: Mapping[str, Path]
    stages: Stages
    device: torch.device
    progress: Callable[[str, int, int | None], None]

    @property
    def repeats(self) -> int:
        """Seeds of training, or runs of drawing supports."""
        return self.request.repeats or self.benchmark.repeats

    def limited(self, dataset: YtvisDataset) -> YtvisDataset:
        """The dataset, or with ``--limit`` so many of its videos, drawn by their names."""
        if not self.request.limit:
            return dataset
        names = {name: key for key, name in video_names(dataset).items()}
        kept = ranked(sorted(names), "benchmark", "limit")[: self.request.limit]
        return keep_videos(dataset, [names[name] for name in kept])

    def one_by_one(self, folder: Path, what: str, items: Sequence[Item], work: Callable[[Item], Any]) -> list[Any]:
        """What ``work`` makes of every item, each in a file of its own: a killed stage goes on with the next one."""
        found = []
        for number, item in enumerate(items):
            path = folder / f"{number:06d}.json"
            if not path.exists():
                write_json(path, work(item))
            found.append(read_json(path, object, "delete it to do it again"))
            self.progress(what, number + 1, len(items))
        return found

    def trained(
        self, name: str, given: Mapping[str, Any], settings: TrainSettings, make: Callable[[], TrainTask]
    ) -> Path:
        """The weights folder of one training, a stage that a killed run goes on with."""

        def work(folder: Path) -> Mapping[str, Any]:
            train(
                make(), settings, folder, device=self.device, resume=(folder / "checkpoint.pt").exists(),
                report=lambda line: self.progress(f"{name}, steps", line.step, line.steps),
            )  # fmt: skip
            return {"steps": settings.steps}

        stage = self.stages.run(name, {**given, **settings.model_dump(mode="json")}, work, resumes=True)
        return stage.folder / "weights"

    def with_steps(self, settings: TrainSettings, seed: int) -> TrainSettings:
        """The recipe's settings with a seed, and with ``--steps`` where it is given."""
        changes: dict[str, Any] = {"seed": settings.seed + seed}
        if self.request.steps is not None:
            kept = tuple(milestone for milestone in settings.milestones if milestone < self.request.steps)
            changes |= {"steps": self.request.steps, "milestones": kept}
        return settings.model_copy(update=changes)


def record_of(video_id: int, category_id: int, score: float, masks: Sequence[Any]) -> Record:
    """A predicted track as evaluation servers take it."""
    return {"video_id": video_id, "category_id": category_id, "score": score, "segmentations": list(masks)}


def results_of(records: Iterable[Record]) -> list[YtvisResult]:
    """Records as `record_of` wrote them."""
    return [
        result_from_masks(
            video_id=record["video_id"], category_id=record["category_id"], score=record["score"],
            segmentations=record["segmentations"],
        )
        for record in records
    ]  # fmt: skip
