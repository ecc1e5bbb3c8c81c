"""Self-Shot on Self-VIS and Self-OVIS: fixed pairs of the split, 1-shot, 5-shot and 5+(n), by instances and classes.

Oracle supports are the first k of a query's fixed list; with ``--pool`` there are also retrieved and random ones. One
network serves all numbers of shots. AP50 is over all episodes as one class; the mean over classes stands beside it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fewmask.datasets.draws import ranked
from fewmask.datasets.presence import video_names
from fewmask.datasets.self_shot_split import SupportPair, read_pairs
from fewmask.datasets.split_files import SplitName, write_split
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.media.clip_place import ClipPlace
from fewmask.pipelines.benchmarks.bench import Bench
from fewmask.pipelines.benchmarks.layout import check_frames
from fewmask.pipelines.benchmarks.paper import BY_CLASSES, BY_INSTANCES, OWN_SEGMENTS, SELF_OVIS, SELF_VIS, SHOTS
from fewmask.pipelines.benchmarks.report import Row, Table
from fewmask.pipelines.recipes import read_recipe
from fewmask.retrieval.embedders import embedder_of
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.retrieve import random_clips, retrieve
from fewmask.selfshot.evaluate import (
    Episode,
    OwnSegments,
    Track,
    episode_tracks,
    own_segment_tracks,
    score_episodes,
    video_places,
)
from fewmask.selfshot.pretrained import load_transformer
from fewmask.selfshot.segment import BUNDLED
from fewmask.selfshot.train import TransformerRecipe, TransformerTask
from fewmask.selfshot.transformer import CommonInstanceTransformer, EncodedSupports

OWN = ("temporal", "spatial")
COMMON = "An episode per query asks for all its held-out classes, with k supports of each; objects count as one class."
SHOWN_SHOTS = {1: "1", 5: "5", 6: "5+1", 8: "5+3", 10: "5+5"}


def check_data(places: Mapping[str, Path]) -> None:
    """Whether every frame is there.

    Raises:
        DatasetError: names the first that is not; or the annotation file is malformed.
    """
    dataset = read_ytvis(places["train"])
    check_frames(places["train frames"], [name for video in dataset.videos for name in video.file_names])


def tables(bench: Bench) -> Iterator[Table]:
    """Table 1 (or Table 3's column of Self-OVIS), then Table 4 with the best supports that there are."""
    runner = _Runner(bench)
    kinds = ("random", "retrieved", "oracle") if bench.request.pool else ("oracle",)
    paper = SELF_VIS if bench.request.name == "self-vis" else SELF_OVIS
    note = f"{len(runner.pairs)} queries of the test part, AP50 pooled; k supports are the first k of a fixed list."
    if bench.request.wanted("shots"):
        rows = []
        for kind in kinds:
            scores = {k: score_episodes(runner.test, *runner.found(kind, k)) for k in SHOTS}
            printed = {SHOWN_SHOTS[k]: value for k, value in paper.get(kind, {}).items()}
            rows.append(Row(kind, {SHOWN_SHOTS[k]: _percent(one.pooled) for k, one in scores.items()}, printed))
            means = {SHOWN_SHOTS[k]: _percent(one.mean) for k, one in scores.items()}
            rows.append(Row(f"{kind}, mean over classes", means))
        yield Table("AP50 by shots", tuple(rows), note)
    best = "retrieved" if bench.request.pool else "oracle"
    if bench.request.wanted("segments"):
        rows = [Row(f"{kind} segments", runner.percents(kind), OWN_SEGMENTS[kind]) for kind in OWN]
        rows.append(Row(f"{best} supports", runner.percents(best), OWN_SEGMENTS["retrieved"]))
        yield Table("Supported by its own segments", tuple(rows), "Pieces of the query in place of other videos.")
    grouped = f"{best} supports; the paper's are retrieved."
    if bench.request.wanted("instances"):
        printed_rows = BY_INSTANCES if bench.request.name == "self-vis" else {}
        yield Table("By number of instances", _groups(runner, best, runner.instances, 5, printed_rows), grouped)
    if "classes" in bench.benchmark.tables and bench.request.wanted("classes"):
        yield Table("By number of classes", _groups(runner, best, runner.classes, 4, BY_CLASSES), grouped)
    if "common" in bench.benchmark.tables and bench.request.wanted("common"):
        yield Table("Several common classes in an episode", _common(runner), COMMON)


def _groups(
    runner: "_Runner", kind: str, counts: Mapping[int, int], most: int, paper: Mapping[str, Mapping[int, float]]
) -> tuple[Row, ...]:
    """Rows 1, 2, ..., ``most`` or more; a group without a query has no figure."""
    rows = []
    for number in range(1, most + 1):
        name = str(number) if number < most else f"{number} or more"
        figures = {}
        for k in (1, 5):
            episodes, tracks = runner.found(kind, k)
            chosen = [place for place, e in enumerate(episodes) if min(counts[e.video], most) == number]
            score = score_episodes(runner.test, [episodes[p] for p in chosen], [tracks[p] for p in chosen])
            figures[f"{k}-shot"] = _percent(score.pooled) if chosen else None
        rows.append(Row(name, figures, {f"{k}-shot": value for k, value in paper.get(name, {}).items()}))
    return tuple(rows)


def _common(runner: "_Runner") -> tuple[Row, ...]:
    """Rows by the number of classes that query and supports share; every object of any of them counts."""
    rows = []
    for number in range(1, 5):
        name = str(number) if number < 4 else "4 or more"
        figures = {}
        for k in (1, 5):
            episodes, tracks = runner.common(k)
            chosen = [place for place, e in enumerate(episodes) if min(len(runner.asked[e.video]), 4) == number]
            score = score_episodes(runner.merged, [episodes[p] for p in chosen], [tracks[p] for p in chosen])
            figures[f"{k}-shot"] = _percent(score.pooled) if chosen else None
        rows.append(Row(name, figures, {f"{k}-shot": value for k, value in BY_CLASSES[name].items()}))
    return tuple(rows)


class _Runner:
    """Split, network and episodes of one run."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._root = bench, bench.places["train frames"]
        self._split = bench.request.split or self._written_split()
        self.test = read_ytvis(self._split / "test.json")
        self._ids = {name: key for key, name in video_names(self.test).items()}
        self._videos = {video.id: video for video in self.test.videos}
        self._places = video_places(self.test, self._root)
        pairs = read_pairs(self._split / "test_pairs.json")
        if bench.request.limit:
            keys = ranked([(pair.query, pair.class_id) for pair in pairs], "benchmark", "limit")
            kept = set(keys[: bench.request.limit])
            pairs = [pair for pair in pairs if (pair.query, pair.class_id) in kept]
        self.pairs: list[SupportPair] = pairs
        self._known: dict[tuple[str, int], tuple[list[Episode], list[list[Track]]]] = {}
        self._encoded: dict[ClipPlace, EncodedSupports] = {}
        self._network = cache(self._load)

    @property
    def instances(self) -> Mapping[int, int]:
        """Video id -> its objects."""
        return {video.id: sum(a.video_id == video.id for a in self.test.annotations) for video in self.test.videos}

    @property
    def classes(self) -> Mapping[int, int]:
        """Video id -> its classes."""
        return {
            video.id: len({a.category_id for a in self.test.annotations if a.video_id == video.id})
            for video in self.test.videos
        }

    def percents(self, kind: str) -> dict[str, float | None]:
        """AP50 with one and with five supports."""
        return {f"{k}-shot": _percent(score_episodes(self.test, *self.found(kind, k)).pooled) for k in (1, 5)}

    @property
    def asked(self) -> Mapping[int, list[SupportPair]]:
        """Video id -> its episodes, one per held-out class."""
        found: dict[int, list[SupportPair]] = {}
        for pair in self.pairs:
            found.setdefault(self._ids[pair.query], []).append(pair)
        return found

    @property
    def merged(self) -> YtvisDataset:
        """The test part with all objects of the classes that are asked for as one class."""
        wanted = {(video, pair.class_id) for video, pairs in self.asked.items() for pair in pairs}
        kept = [a for a in self.test.annotations if (a.video_id, a.category_id) in wanted]
        return replace(self.test, annotations=tuple(replace(a, category_id=self._one_class) for a in kept))

    @property
    def _one_class(self) -> int:
        return self.test.categories[0].id

    def common(self, shots: int) -> tuple[list[Episode], list[list[Track]]]:
        """An episode per video that asks for all its held-out classes, with ``shots`` supports of each: a stage."""
        episodes = [
            Episode(
                video, self._one_class,
                tuple(dict.fromkeys(place for pair in pairs for place in self._supports(pair, "oracle", shots))),
            )
            for video, pairs in self.asked.items()
        ]  # fmt: skip
        return episodes, self._segmented(f"common-{shots}", episodes, self._supported)

    def found(self, kind: str, shots: int) -> tuple[list[Episode], list[list[Track]]]:
        """The episodes with ``shots`` supports of a kind, and their tracks: a stage."""
        if (kind, shots) not in self._known:
            self._known[kind, shots] = self._find(kind, shots)
        return self._known[kind, shots]

    def _find(self, kind: str, shots: int) -> tuple[list[Episode], list[list[Track]]]:
        bench = self._bench
        if kind in OWN:
            own: OwnSegments = "temporal" if kind == "temporal" else "spatial"
            alone = [Episode(self._ids[pair.query], pair.class_id, ()) for pair in self.pairs]

            def of_itself(episode: Episode) -> list[Track]:
                return own_segment_tracks(self._network(), self._videos[episode.video], self._root, own, shots)

            return alone, self._segmented(f"{kind}-{shots}", alone, of_itself)
        given = {"weights": self._weights(), "queries": [[pair.query, pair.class_id] for pair in self.pairs]}
        supports = bench.stages.run(
            f"supports/{kind}-{shots}", given,
            lambda _: {"places": [[p.id for p in self._supports(pair, kind, shots)] for pair in self.pairs]},
        ).outcome["places"]  # fmt: skip
        episodes = [
            Episode(self._ids[pair.query], pair.class_id, tuple(ClipPlace.of(place) for place in places))
            for pair, places in zip(self.pairs, supports, strict=True)
        ]
        return episodes, self._segmented(f"{kind}-{shots}", episodes, self._supported)

    def _supported(self, episode: Episode) -> list[Track]:
        return episode_tracks(
            self._network(), self._videos[episode.video], self._root, episode.supports, encoded=self._encoded
        )

    def _segmented(
        self, name: str, episodes: Sequence[Episode], find: Callable[[Episode], list[Track]]
    ) -> list[list[Track]]:
        """The tracks of every episode, each kept in a file."""
        bench = self._bench
        given = {
            "weights": self._weights(), "episodes": [[e.video, e.category] for e in episodes],
            "supports": [[place.id for place in e.supports] for e in episodes],
        }  # fmt: skip

        def tracks(episode: Episode) -> list[list[Any]]:
            return [[score, masks] for score, masks in find(episode)]

        def work(folder: Path) -> Mapping[str, Any]:
            bench.one_by_one(folder / "episodes", f"{name}, queries", episodes, tracks)
            return {"queries": len(episodes)}

        folder = bench.stages.run(f"tracks/{name}", given, work, resumes=True).folder
        records = bench.one_by_one(folder / "episodes", "queries", episodes, tracks)
        return [[(score, masks) for score, masks in record] for record in records]

    def _supports(self, pair: SupportPair, kind: str, shots: int) -> Sequence[ClipPlace]:
        if kind == "oracle":
            return [self._places[self._ids[name]] for name in pair.supports[:shots]]
        assert self._bench.request.pool is not None  # the rows are there with a pool alone
        pool = Pool.open(self._bench.request.pool)
        source = self._places[self._ids[pair.query]].video
        if kind == "random":
            return random_clips(pool, shots, source=source)
        embedder = embedder_of(pool, "auto", device=str(self._bench.device))
        return [near.place for near in retrieve(source, pool, embedder, shots).neighbours]

    def _written_split(self) -> Path:
        bench = self._bench
        name: SplitName = "self-vis" if bench.request.name == "self-vis" else "self-ovis"

        def work(folder: Path) -> Mapping[str, Any]:
            return write_split(name, bench.places["train"], folder / "files")

        return bench.stages.run("split", {"split": name}, work).folder / "files"

    def _weights(self) -> str:
        """Given, or trained on the split's training part."""
        request = self._bench.request
        if request.weights is not None:
            return request.weights
        assert request.recipe is not None  # checked with the request
        recipe = read_recipe(request.recipe, TransformerRecipe)
        settings = self._bench.with_steps(recipe.train, 0)
        recipe = recipe.model_copy(update={"train": settings})

        def make() -> TransformerTask:
            train: YtvisDataset = read_ytvis(self._split / "train.json")
            return TransformerTask(recipe, train, self._root, request.initial)

        return str(self._bench.trained("training", recipe.model_dump(mode="json"), settings, make))

    def _load(self) -> CommonInstanceTransformer:
        folder = Path(self._weights())
        if not folder.is_dir() and (BUNDLED / folder).is_dir():
            folder = BUNDLED / folder
        return load_transformer(folder, device=self._bench.device)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
