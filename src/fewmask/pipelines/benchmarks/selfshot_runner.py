"""One run of Self-Shot on a split: its network, its episodes and the tracks that were found in them, stage by stage."""

from collections.abc import Callable, Mapping, Sequence
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
from fewmask.errors import ConfigError
from fewmask.media.clip_place import ClipPlace
from fewmask.pipelines.benchmarks.bench import Bench
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
from fewmask.selfshot.siamese_tracks import siamese_tracks
from fewmask.selfshot.siamese_train import SiameseTask, load_siamese
from fewmask.selfshot.train import TransformerRecipe, TransformerTask
from fewmask.selfshot.transformer import CommonInstanceTransformer, EncodedSupports, TransformerConfig

OWN = ("temporal", "spatial")
Found = tuple[list[Episode], list[list[Track]]]
"""Episodes, and the tracks found in each."""


class SelfShotRunner:
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
        self._known: dict[tuple[str, int], Found] = {}
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
        return {f"{k}-shot": percent(score_episodes(self.test, *self.found(kind, k)).pooled) for k in (1, 5)}

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

    def common(self, shots: int) -> Found:
        """An episode per video that asks for all its held-out classes, with ``shots`` supports of each: a stage."""
        episodes = [
            Episode(
                video, self._one_class,
                tuple(dict.fromkeys(place for pair in pairs for place in self._supports(pair, "oracle", shots))),
            )
            for video, pairs in self.asked.items()
        ]  # fmt: skip
        return episodes, self._segmented(f"common-{shots}", episodes, self._supported)

    def found(self, kind: str, shots: int) -> Found:
        """The episodes with ``shots`` supports of a kind, and their tracks: a stage."""
        if (kind, shots) not in self._known:
            self._known[kind, shots] = self._find(kind, shots)
        return self._known[kind, shots]

    def siamese(self) -> Callable[[int], Found]:
        """Episodes with so many oracle supports, and what Siamese Mask R-CNN with their mean finds."""
        weights = self._rival("smrcnn", SiameseTask)
        network = load_siamese(weights, device=self._bench.device)

        def find(episode: Episode) -> list[Track]:
            return siamese_tracks(network, self._videos[episode.video], self._root, episode.supports)

        return lambda shots: self._of_rival("smrcnn", shots, find, weights)

    def few_shot(self) -> Callable[[int], Found]:
        """The same of the few-shot transformer."""
        weights = self._rival("fst", TransformerTask, structure="few_shot", fuser_layers=0)
        network = load_transformer(weights, device=self._bench.device)
        encoded: dict[ClipPlace, EncodedSupports] = {}

        def find(episode: Episode) -> list[Track]:
            video = self._videos[episode.video]
            return episode_tracks(network, video, self._root, episode.supports, encoded=encoded)

        return lambda shots: self._of_rival("fst", shots, find, weights)

    def _of_rival(self, name: str, shots: int, find: Callable[[Episode], list[Track]], weights: Path) -> Found:
        episodes = [
            Episode(self._ids[pair.query], pair.class_id, tuple(self._supports(pair, "oracle", shots)))
            for pair in self.pairs
        ]
        return episodes, self._segmented(f"{name}-{shots}", episodes, find, weights)

    def _rival(self, name: str, task: type[TransformerTask], **changes: Any) -> Path:
        """Weights of a baseline, trained by the same recipe."""
        if self._bench.request.recipe is None:
            raise ConfigError(
                "table transplanted trains baselines; give --recipe, besides --weights of the network or not"
            )
        return self._trained(f"training-{name}", task, changes)

    def _find(self, kind: str, shots: int) -> Found:
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
        self,
        name: str,
        episodes: Sequence[Episode],
        find: Callable[[Episode], list[Track]],
        weights: str | Path | None = None,
    ) -> list[list[Track]]:
        """The tracks of every episode, each kept in a file."""
        bench = self._bench
        given = {
            "weights": str(weights or self._weights()), "episodes": [[e.video, e.category] for e in episodes],
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
        return str(self._trained("training", TransformerTask, {}))

    def _trained(self, name: str, task: type[TransformerTask], changes: Mapping[str, Any]) -> Path:
        request = self._bench.request
        assert request.recipe is not None  # checked with the request
        recipe = read_recipe(request.recipe, TransformerRecipe)
        settings = self._bench.with_steps(recipe.train, 0)
        network = TransformerConfig.model_validate({**recipe.network.model_dump(), **changes})
        recipe = recipe.model_copy(update={"train": settings, "network": network})

        def make() -> TransformerTask:
            train: YtvisDataset = read_ytvis(self._split / "train.json")
            return task(recipe, train, self._root, request.initial)

        return self._bench.trained(name, recipe.model_dump(mode="json"), settings, make)

    def _load(self) -> CommonInstanceTransformer:
        folder = Path(self._weights())
        if not folder.is_dir() and (BUNDLED / folder).is_dir():
            folder = BUNDLED / folder
        return load_transformer(folder, device=self._bench.device)


def percent(value: float | None) -> float | None:
    """Of a share; None where there is none."""
    return None if value is None else 100 * value
