"""VIPMT on YouTube-FSVOS and MiniVSPW: a network per fold, episodes of a protocol, results, J, F and VC7.

In ``fold-N/<protocol>/`` lie the truth and the results of every run at the network's size, as `fewmask eval fsvos
--only-predicted` reads them. The weights are those of the last step: the released code picks the epoch by the novel
classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fewmask.datasets import fsvos_folds, mini_vspw
from fewmask.datasets.draws import ranked
from fewmask.datasets.episodes import Episode, Presence, Protocol, episodes, read_episodes
from fewmask.datasets.presence import presence_of
from fewmask.datasets.video_list import listed_videos
from fewmask.datasets.vspw import read_vspw, vspw_label_maps
from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
from fewmask.datasets.ytvis_types import YtvisAnnotation, annotation_from_masks
from fewmask.datasets.ytvis_write import write_ytvis, write_ytvis_results
from fewmask.errors import ConfigError
from fewmask.metrics.fsvos import FsvosVideo, aggregate_fsvos
from fewmask.metrics.fsvos_tracks import score_fsvos_tracks
from fewmask.pipelines.benchmarks.bench import Bench, results_of
from fewmask.pipelines.benchmarks.fewshot_episodes import EpisodeVideos
from fewmask.pipelines.benchmarks.fewshot_variants import PLAIN, Variant
from fewmask.pipelines.benchmarks.fewshot_variants import TABLES as VARIANTS
from fewmask.pipelines.benchmarks.layout import check_frames
from fewmask.pipelines.benchmarks.paper import FSVOS, FSVOS_ABLATIONS, FSVOS_TTI, MINI_VSPW
from fewmask.pipelines.benchmarks.report import Row, Table, mean_row
from fewmask.pipelines.recipes import read_recipe
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.recipe import VIPMTRecipe
from fewmask.vipmt.train import make_task

SHOTS = 5
_COLUMNS = {"I": ("J", "F", "VC_vipmt"), "II": ("J", "F", "VC_vipmt"), "II-tti": ("J_accumulated", "F", "VC_tti")}


def check_data(places: Mapping[str, Path]) -> None:
    """Whether every frame and label map is there.

    Raises:
        DatasetError: names the first that is not; or an annotation file is malformed.
    """
    if "train" in places:
        dataset = read_ytvis(places["train"])
        check_frames(places["train frames"], [name for video in dataset.videos for name in video.file_names])
        return
    for part in ("train list", "val list"):
        for name in listed_videos(places[part]):
            pictures = sorted((places["data"] / name / "origin").glob("*.jpg"))
            check_frames(places["data"], [f"{name}/origin/{pictures[0].name if pictures else '00000001.jpg'}"])
            check_frames(places["data"], [f"{name}/mask/{picture.stem}.png" for picture in pictures])


def tables(bench: Bench) -> Iterator[Table]:
    """One table per protocol: folds and their mean; J, F and VC7 by the protocol's own definitions."""
    data = _MiniVspw(bench) if bench.request.name == "mini-vspw" else _YoutubeFsvos(bench)
    for protocol in ("II", "I", "II-tti"):
        if protocol in bench.benchmark.tables and bench.request.wanted(protocol):
            yield _table(bench, data, protocol)
    for name, variants in VARIANTS.items():
        if name in bench.request.tables:  # only where asked for: each row is a training per fold
            yield _ablation(bench, data, name, variants)


class _YoutubeFsvos:
    """Folds of the training set of YouTube-VIS 2019."""

    every_frame = False

    def __init__(self, bench: Bench) -> None:
        self.root = bench.places["train frames"]
        self.dataset = read_ytvis(bench.places["train"])
        self.presence: Presence = presence_of(self.dataset)
        self._file = bench.places["train"]

    def novel(self, fold: int) -> tuple[int, ...]:
        return fsvos_folds.novel_classes(fold)

    def training(self, fold: int, folder: Path) -> tuple[Path, Path, list[str]]:
        """Annotation file, its frames, and names of the classes that training must not see."""
        del folder  # the annotations lie with the data
        names = {category.id: category.name for category in self.dataset.categories}
        return self._file, self.root, [names[key] for key in self.novel(fold)]


class _MiniVspw:
    """Folds of VSPW: trained on listed frames of its train part, tested on its val part."""

    every_frame = True

    def __init__(self, bench: Bench) -> None:
        self._root = bench.request.data
        self.dataset, self.root = read_vspw(self._root, subset="val")
        classes = {category for five in mini_vspw.TEST_CLASSES.values() for category in five}
        self.presence: Presence = mini_vspw.list_frames(vspw_label_maps(self._root, subset="val"), classes)

    def novel(self, fold: int) -> tuple[int, ...]:
        return mini_vspw.classes(fold, "test")

    def training(self, fold: int, folder: Path) -> tuple[Path, Path, list[str]]:
        """The file is written for the fold: the tracks of its 15 classes, where they cover enough pixels."""
        path = folder / "train.json"
        if not path.exists():
            whole, _ = read_vspw(self._root, subset="train")
            base = mini_vspw.classes(fold, "train")
            kept = [listed for track in whole.annotations if (listed := _listed(track)) and track.category_id in base]
            categories = tuple(category for category in whole.categories if category.id in base)
            write_ytvis(path, replace(whole, annotations=tuple(kept), categories=categories))
        return path, self.root, []


def _listed(track: YtvisAnnotation) -> YtvisAnnotation | None:
    masks = [
        mask if area > mini_vspw.MORE_THAN_PIXELS else None
        for mask, area in zip(track.segmentations, track.mask_areas.tolist(), strict=True)
    ]
    if not any(masks):
        return None
    return annotation_from_masks(
        id=track.id, video_id=track.video_id, category_id=track.category_id, segmentations=masks
    )


def _table(bench: Bench, data: _YoutubeFsvos | _MiniVspw, protocol: Protocol) -> Table:
    scored: list[FsvosVideo] = []
    for fold in fsvos_folds.FOLDS:
        scored += _fold(bench, data, fold, protocol)
    scores = aggregate_fsvos(scored, {fold: data.novel(fold) for fold in fsvos_folds.FOLDS})
    paper = MINI_VSPW if bench.request.name == "mini-vspw" else {"II": FSVOS, "II-tti": FSVOS_TTI}.get(protocol, {})
    runs = range(bench.repeats)
    rows = [
        _row(f"fold {fold}", [scores.per_fold[run, fold] for run in runs], protocol, paper)
        for fold in fsvos_folds.FOLDS
    ]
    rows.append(_row("mean", [scores.per_run[run,] for run in runs], protocol, paper))
    note = f"{SHOTS} supports, {bench.repeats} runs, masks at the network's size; the last step's weights."
    return Table(f"Protocol {protocol}", tuple(rows), note)


def _ablation(bench: Bench, data: _YoutubeFsvos | _MiniVspw, name: str, variants: Sequence[Variant]) -> Table:
    """Rows are the means over folds of networks that are trained or tested differently; protocol II."""
    given = bench.request.weights is not None
    rows = []
    for variant in variants:
        if given and variant.needs_training:
            continue
        scored = [video for fold in fsvos_folds.FOLDS for video in _fold(bench, data, fold, "II", variant)]
        scores = aggregate_fsvos(scored, {fold: data.novel(fold) for fold in fsvos_folds.FOLDS})
        found = _row("mean", [scores.per_run[run,] for run in range(bench.repeats)], "II", {})
        rows.append(replace(found, name=variant.row, paper=FSVOS_ABLATIONS[name][variant.row]))
    how = "parts of the given weights, switched at test time" if given else "one network per row and fold"
    return Table(name.capitalize(), tuple(rows), f"{how}; means over folds, protocol II, {bench.repeats} runs.")


def _row(
    name: str, runs: list[dict[str, float | None]], protocol: Protocol, paper: Mapping[str, Mapping[str, float]]
) -> Row:
    names = dict(zip(("J", "F", "VC7"), _COLUMNS[protocol], strict=True))
    return mean_row(name, [{ours: run[key] for ours, key in names.items()} for run in runs], paper.get(name, {}))


def _fold(
    bench: Bench, data: _YoutubeFsvos | _MiniVspw, fold: int, protocol: Protocol, variant: Variant = PLAIN
) -> list[FsvosVideo]:
    weights = _weights(bench, data, fold, variant)
    place = f"fold-{fold}/{protocol}" + (f"/{variant.row}" if variant.row else "")
    lists = _episodes(bench, data, fold, protocol)

    @cache
    def network() -> VIPMTNetwork:
        return variant.tested_network(VIPMT.from_pretrained(weights, device=str(bench.device)).network)

    def work(folder: Path) -> Mapping[str, Any]:
        videos = EpisodeVideos(data.dataset, data.root, network().config.input_size, every_frame=data.every_frame)
        queries = videos.queries(lists)
        found = bench.one_by_one(
            folder / "episodes", f"fold {fold}, episodes", queries,
            lambda query: videos.segment(network(), query, protocol),
        )  # fmt: skip
        write_ytvis(folder / "truth.json", videos.truth(queries))
        for run in range(bench.repeats):
            own = [record for query, record in zip(queries, found, strict=True) if query.episode.run == run]
            write_ytvis_results(folder / f"run-{run}.json", tuple(results_of(own)))
        return {"episodes": len(queries)}

    given = {"weights": str(weights), "episodes": [_key(episode) for episode in lists]}
    folder = bench.stages.run(place, given, work, resumes=True).folder
    truth = read_ytvis(folder / "truth.json")
    return [
        video
        for run in range(bench.repeats)
        for video in score_fsvos_tracks(
            truth, read_ytvis_results(folder / f"run-{run}.json", truth), fold_of=lambda _: fold, run=run,
            only_predicted=True, every_frame=data.every_frame,
        )
    ]  # fmt: skip


def _key(episode: Episode) -> list[Any]:
    return [episode.run, episode.class_id, episode.query, [list(support) for support in episode.supports]]


def _episodes(bench: Bench, data: _YoutubeFsvos | _MiniVspw, fold: int, protocol: Protocol) -> list[Episode]:
    """The lists of ``--split``, or the same drawn here; with ``--limit`` so many of a class and run."""
    runs = range(bench.repeats)
    if bench.request.split is not None:
        found = [e for e in read_episodes(bench.request.split / f"fold_{fold}_{protocol}.json") if e.run in runs]
    else:
        found = episodes(data.presence, protocol=protocol, fold=fold, classes=data.novel(fold), runs=runs, shots=SHOTS)
    if not bench.request.limit:
        return found
    kept: list[Episode] = []
    for run in runs:
        for class_id in data.novel(fold):
            queries = sorted({e.query for e in found if (e.run, e.class_id) == (run, class_id)})
            few = set(ranked(queries, "benchmark", "limit")[: bench.request.limit])
            kept += [e for e in found if (e.run, e.class_id) == (run, class_id) and e.query in few]
    return kept


def _weights(bench: Bench, data: _YoutubeFsvos | _MiniVspw, fold: int, variant: Variant) -> str | Path:
    request = bench.request
    if request.weights is not None:
        own = Path(request.weights) / f"fold-{fold}"
        return own if own.is_dir() else request.weights
    assert request.recipe is not None  # checked with the request
    if request.initial is None and request.start_from is None:
        raise ConfigError("training a network per fold needs --initial (ImageNet backbone) or --start-from")
    recipe = read_recipe(request.recipe, VIPMTRecipe)
    settings = bench.with_steps(recipe.train, 0)
    recipe = variant.changed(recipe.model_copy(update={"train": settings}))
    folder = bench.stages.run(f"fold-{fold}/data", {"fold": fold}, lambda place: _written(data, fold, place)).folder
    path, root, novel = data.training(fold, folder)
    name = f"fold-{fold}/training" + (f"_{variant.training}" if variant.training else "")
    return bench.trained(
        name, recipe.model_dump(mode="json"), settings,
        lambda: make_task(
            recipe, path, request.initial or path, root=root, novel=novel, start_from=request.start_from
        ),
    )  # fmt: skip


def _written(data: _YoutubeFsvos | _MiniVspw, fold: int, folder: Path) -> Mapping[str, Any]:
    path, _, novel = data.training(fold, folder)
    return {"annotations": str(path), "novel": novel}
