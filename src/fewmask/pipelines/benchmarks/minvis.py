"""MinVIS on YouTube-VIS 2019, 2021 and OVIS: shares of labelled frames, post-processing, supervised matching.

The masks of the official validation sets are not published. Where ``valid`` has none, every fifth training video is
held out and measured, and results of the validation set are written beside them for the evaluation server.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.datasets.video_subset import keep_videos
from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.datasets.ytvis_write import write_ytvis_results
from fewmask.metrics.ovis import evaluate_ovis
from fewmask.metrics.ytvis import evaluate_ytvis
from fewmask.minvis.pretrained import load
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import ytvis_data
from fewmask.pipelines.benchmarks.bench import Bench, results_of
from fewmask.pipelines.benchmarks.layout import check_frames
from fewmask.pipelines.benchmarks.minvis_tracks import CLIP, MATCHINGS, category_ids, video_tracks, ways_of
from fewmask.pipelines.benchmarks.paper import MINVIS, TRACK_FIGURES
from fewmask.pipelines.benchmarks.report import Row, Table, mean_row
from fewmask.pipelines.recipes import read_recipe

RATIOS = (0.01, 0.05, 0.10, 1.0)
SUPERVISED = {"supervised matching": 20, "limited range": 1}
"""Row -> frames that a pair is apart at most."""
HELD_OUT = 5
GIVEN = "weights given"


@dataclass(frozen=True)
class VideoSet:
    """Annotations and the folder of their frames."""

    name: str
    dataset: YtvisDataset
    images: Path


def check_data(places: Mapping[str, Path]) -> None:
    """Whether every frame of both parts is there.

    Raises:
        DatasetError: names the first that is not; or an annotation file is malformed.
    """
    for part in ("train", "valid"):
        dataset = read_ytvis(places[part], unlabelled=part == "valid")
        check_frames(places[f"{part} frames"], [name for video in dataset.videos for name in video.file_names])


def tables(bench: Bench) -> Iterator[Table]:
    """One table after another; trainings that two tables need are done once."""
    runner = _Runner(bench)
    request, paper = bench.request, MINVIS[bench.request.name]
    shared = f"Measured on {runner.measured_on}; the paper's are Swin-L on the official validation set."
    if request.weights is not None:
        row = runner.row(GIVEN, "query", {}, matching_range=None, ratio=1.0)
        yield Table("Query matching", (Row(row.name, row.figures, paper["100 %"]),), shared)
    elif request.wanted("sparse"):
        rows = (
            runner.row(f"{100 * ratio:g} %", "query", paper[f"{100 * ratio:g} %"], matching_range=None, ratio=ratio)
            for ratio in RATIOS
        )
        yield Table("Share of labelled frames", tuple(rows), shared)
    if request.wanted("post-processing"):
        linked = [runner.row(m, m, paper[m], matching_range=None, ratio=1.0) for m in MATCHINGS]
        if runner.looks_at_clips:
            linked.append(runner.row("clip", CLIP, paper["clip"], matching_range=None, ratio=1.0))
        yield Table(
            "Post-processing", tuple(linked), shared + " clip: the same weights, windows of 30 frames together."
        )
    if request.weights is None and request.wanted("supervised"):
        found = [
            runner.row(name, "query", paper[name], matching_range=reach, ratio=1.0)
            for name, reach in SUPERVISED.items()
        ]
        none = runner.row("none", "query", paper["query"], matching_range=None, ratio=1.0)
        yield Table("Supervised matching", (none, *found), shared)


class _Runner:
    """Trainings and their figures, each a stage."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        train = VideoSet("train", read_ytvis(bench.places["train"]), bench.places["train frames"])
        valid = VideoSet("valid", read_ytvis(bench.places["valid"], unlabelled=True), bench.places["valid frames"])
        self._others: VideoSet | None = None
        self.looks_at_clips = False  # known once a row is there
        if valid.dataset.annotations:
            self._train, self._test = train, valid
            self.measured_on = "the labelled validation set"
        else:
            held = [video.id for number, video in enumerate(train.dataset.videos) if number % HELD_OUT == 0]
            kept = [video.id for video in train.dataset.videos if video.id not in set(held)]
            self._train = VideoSet("train", keep_videos(train.dataset, kept), train.images)
            self._test = VideoSet("held-out", keep_videos(train.dataset, held), train.images)
            self._others = valid
            self.measured_on = f"every {HELD_OUT}th training video, held out (the validation set has no masks)"
        self._test = VideoSet(self._test.name, bench.limited(self._test.dataset), self._test.images)

    def row(
        self, name: str, matching: str, paper: Mapping[str, float], *, matching_range: int | None, ratio: float
    ) -> Row:
        """One row: the mean over seeds."""
        bench = self._bench
        if bench.request.weights is not None:
            return mean_row(name, [self._figures("given", bench.request.weights, matching)], paper)
        found = []
        for seed in range(bench.repeats):
            place = f"range-{matching_range}" if matching_range else f"frames-{ratio:g}"
            weights = self._trained(f"{place}/seed-{seed}/training", ratio, matching_range, seed)
            found.append(self._figures(f"{place}/seed-{seed}", str(weights), matching))
        return mean_row(name, found, paper)

    def _trained(self, name: str, ratio: float, matching_range: int | None, seed: int) -> Path:
        bench, train = self._bench, self._train
        assert bench.request.recipe is not None  # checked with the request
        recipe = read_recipe(bench.request.recipe, MinvisRecipe)
        settings = bench.with_steps(recipe.train, seed)
        recipe = recipe.model_copy(update={"frames": ratio, "matching_range": matching_range, "train": settings})

        def make() -> MinvisTask:
            data = ytvis_data(train.dataset, train.images, class_agnostic=recipe.class_agnostic, ratio=ratio)
            return MinvisTask(recipe, data, start_from=bench.request.start_from)

        return bench.trained(name, recipe.model_dump(mode="json"), settings, make)

    def _figures(self, name: str, weights: str, matching: str) -> Mapping[str, float | None]:
        """Figures by one matching; the tracks of all matchings are made together."""
        bench, test = self._bench, self._test
        given = {"weights": weights, "videos": [video.id for video in test.dataset.videos]}
        place = f"{name}/{test.name}-clip" if matching == CLIP else f"{name}/{test.name}"
        ways = (CLIP,) if matching == CLIP else MATCHINGS
        linked, agnostic = self._linked(place, given, weights, test, ways)
        if matching != CLIP and self._others is not None and self._others.dataset.videos:
            others = VideoSet("valid", bench.limited(self._others.dataset), self._others.images)
            self._linked(f"{name}/valid", {"weights": weights}, weights, others, MATCHINGS)

        def work(_: Path) -> Mapping[str, Any]:
            return evaluated(test.dataset, linked / f"results_{matching}.json", class_agnostic=agnostic)

        return bench.stages.run(f"{name}/figures/{matching}", given, work).outcome

    def _linked(
        self, name: str, given: Mapping[str, Any], weights: str, videos: VideoSet, ways: Sequence[str]
    ) -> tuple[Path, bool]:
        """The folder of ``results_<way>.json``, and whether the weights know one class only."""
        bench = self._bench

        def work(folder: Path) -> Mapping[str, Any]:
            segmenter = load(weights, device=str(bench.device))
            ids = category_ids(segmenter, videos.dataset)
            first = min(category.id for category in videos.dataset.categories)
            found = bench.one_by_one(
                folder / "videos", "videos", videos.dataset.videos,
                lambda video: video_tracks(segmenter, video, videos.images, ids, first, ways),
            )  # fmt: skip
            for way in ways:
                results = results_of(record for one in found for record in one[way])
                write_ytvis_results(folder / f"results_{way}.json", tuple(results))
            return {"class_agnostic": ids is None, "clips": CLIP in ways_of(segmenter)}

        stage = bench.stages.run(name, given, work, resumes=True)
        self.looks_at_clips = bool(stage.outcome["clips"])
        return stage.folder, bool(stage.outcome["class_agnostic"])


def evaluated(dataset: YtvisDataset, results: Path, *, class_agnostic: bool = False) -> dict[str, float | None]:
    """The paper's five figures of a result file, by the evaluator that fits the annotations."""
    occluded = all(annotation.occlusion is not None for annotation in dataset.annotations)
    evaluate = evaluate_ovis if occluded else evaluate_ytvis
    stats = evaluate(dataset, read_ytvis_results(results, dataset), class_agnostic=class_agnostic).stats
    return {name: stats[name] for name in TRACK_FIGURES}
