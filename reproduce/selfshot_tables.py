r"""Tables 1, 3, 5, 8, 9, 12, 13 and Figure 2 of Self-Shot: video AP at IoU 0.5 on classes that training has not seen.

    python reproduce/selfshot_tables.py --train seen/instances.json --eval unseen/instances.json \
        --initial mobilenet.safetensors --encoder rank=ENCODER/weights --tables 1 3 5 9 fig2
    python reproduce/selfshot_tables.py ... --weights RUN/weights --tables 1 5 fig2      # a network trained before

Both files come from `fewmask synth` with disjoint classes (`--hold-out-classes`, `--classes`). The pool is the videos
of both, unlabelled; the query itself is left out. Oracle supports are other videos of the query's class. Tables 3, 8
and 9 train one network per row and seed. Table 12 takes pictures, ``--pictures COCO.json --picture-root DIR``: those of
the classes of --eval, as supports of the videos, and as queries and supports (T = 1). Table 13 supports a query by
pieces of itself. `--scale paper` takes the paper's recipe and datasets of the same format (Self-VIS).
"""

import argparse
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fewmask.datasets.coco import read_coco
from fewmask.datasets.video_coco import pictures_as_videos
from fewmask.datasets.ytvis import read_ytvis
from fewmask.retrieval.clips import square
from fewmask.retrieval.contact_sheet import clip_pictures
from fewmask.retrieval.embedders import load_embedder
from fewmask.selfshot.evaluate import (
    Episode,
    evaluate,
    oracle_episodes,
    own_segment_tracks,
    score_episodes,
    video_places,
)
from fewmask.selfshot.pretrained import load_transformer
from fewmask.selfshot.train import TransformerRecipe, TransformerTask
from fewmask.training.loop import train

RECIPES = Path(__file__).parents[1] / "recipes" / "selfshot"
PAPER_1 = {
    "random": (44.3, 44.9, 44.8, 45.1, 45.1), "fixed": (46.9, 48.3, 48.5, 48.2, 48.4),
    "moco": (49.4, 51.6, 51.9, 51.7, 51.9), "mil_nce": (50.1, 52.5, 52.6, 52.9, 53.3),
    "rank": (51.4, 54.3, 54.6, 55.2, 55.4), "oracle": (53.2, 56.6, 56.1, 57.6, 57.8),
}  # fmt: skip
# With oracle supports (the paper's Table 10), for a small pool would add the errors of retrieval.
PAPER_3 = {"dec": (42.9, 43.4), "enc+dec": (44.5, 44.8), "fuser+dec": (50.6, 53.7), "all": (53.2, 56.6)}
PAPER_5 = {
    (0, 1): 53.2, (0, 5): 56.6, (1, 0): 51.4, (1, 1): 53.6, (2, 2): 54.8, (3, 2): 55.2, (4, 1): 55.1, (5, 0): 54.3,
}  # fmt: skip
PAPER_9 = {"none": (49.4, 52.3), "support": (50.3, 53.7), "query": (52.4, 55.9), "both": (53.2, 56.6)}
DEPTHS = {"encoder": (2, 4, 6, 8), "fuser": (1, 2, 3, 4, 5), "decoder": (2, 4, 6, 8)}
PAPER_8 = {
    "encoder": ((51.7, 55.1), (52.4, 56.1), (53.2, 56.6), (53.2, 56.4)),
    "fuser": ((51.3, 54.0), (52.5, 55.8), (53.2, 56.6), (53.4, 56.9), (53.5, 57.1)),
    "decoder": ((49.4, 53.1), (51.8, 55.7), (53.2, 56.6), (53.6, 56.8)),
}
PAPER_12 = {"pictures for videos": (48.7, 52.0), "pictures for pictures": (15.6, 18.4)}
PAPER_13 = {"temporal": (44.0, 46.6), "spatial": (44.9, 47.8), "oracle": ("", "")}
SHOTS = (1, 5, 6, 8, 10)
TABLES = ("1", "3", "5", "8", "9", "12", "13", "fig2")


class Episodes:
    """Queries of unseen classes and everything that could support them."""

    def __init__(self, seen, unseen, *, most, seed, vectors, shots):
        self.dataset, self.root = read_ytvis(unseen), unseen.parent / "JPEGImages"
        train_set = read_ytvis(seen)
        places = video_places(self.dataset, self.root)
        self.own = dict(places)
        self.pool = [*places.values(), *video_places(train_set, seen.parent / "JPEGImages").values()]
        self.oracle = oracle_episodes(self.dataset, self.root, shots=shots, seed=seed)
        if not self.oracle:
            raise SystemExit(
                f"{unseen}: no class is shown in {shots + 1} videos, as {shots} supports need; fewer --shots?"
            )
        chosen = np.random.default_rng(seed).permutation(len(self.oracle))[:most]
        self.oracle = [self.oracle[place] for place in chosen]
        self.seed, self.vectors = seed, vectors

    def supported(self, method, k, pool_size=None, given=0):
        """The episodes with k supports of one method, among the first pool_size videos of a shuffled pool.

        The first ``given`` oracle supports search with the query and are not found again (Table 5).
        """
        if method == "oracle":
            return [Episode(e.video, e.category, e.supports[:k]) for e in self.oracle]
        order = np.random.default_rng((self.seed, 1)).permutation(len(self.pool))
        pool = [self.pool[place] for place in order[:pool_size]]
        found = []
        for number, episode in enumerate(self.oracle):
            own = self.own[episode.video]
            searching = [own, *episode.supports[:given]]
            others = [place for place in pool if place not in searching]
            if method == "random":
                chosen = np.random.default_rng((self.seed, 2, number)).permutation(len(others))[:k]
            else:
                vectors = self.vectors[method]
                cosines = np.stack([vectors[p] for p in others]) @ np.stack([vectors[p] for p in searching]).T
                chosen = np.argsort(-cosines.max(1))[:k]
            found.append(Episode(episode.video, episode.category, tuple(others[place] for place in chosen)))
        return found

    def embed(self, embedders):
        """Vectors of the whole pool by every embedder; its pictures are read once."""
        for place in self.pool:
            clip = np.stack([square(rgb) for rgb in clip_pictures(place, 5)])
            for method, embedder in embedders.items():
                self.vectors.setdefault(method, {})[place] = embedder.embed(clip[None])[0]


class Scores:
    """Mean and spread over seeds of the pooled AP, and of the mean over classes."""

    def __init__(self, name):
        self.name, self.cells = name, {}

    def add(self, row, column, result):
        print(f"({self.name}: {row}, {column}: {100 * (result.pooled or 0):.1f})", flush=True)
        self.cells.setdefault((row, column), []).append((100 * (result.pooled or 0), 100 * (result.mean or 0)))

    def show(self, title, paper):
        print(f"\n{title}: AP50 pooled ± spread over seeds (mean over classes) [paper]", flush=True)
        for row in dict.fromkeys(row for row, _ in self.cells):
            texts = []
            for column in dict.fromkeys(column for _, column in self.cells):
                values = np.array(self.cells.get((row, column), [(np.nan, np.nan)]))
                printed = paper.get((row, column), "")
                pooled, by_class = values.T
                texts.append(f"{pooled.mean():5.1f} ± {pooled.std():3.1f} ({by_class.mean():4.1f}) [{printed}]")
            print(f"{row!s:<22}", "  ".join(texts), flush=True)


def pictures_of(options, classes):
    """Pictures of a COCO file as videos of one frame, with the objects of some classes."""
    coco = read_coco(options.pictures, options.picture_root)
    videos = pictures_as_videos(coco)
    crowds = {annotation.id for annotation in coco.annotations if annotation.iscrowd}
    ids = {category.id for category in videos.categories if category.name in classes}
    kept = tuple(a for a in videos.annotations if a.category_id in ids and a.id not in crowds)
    return replace(videos, annotations=kept)


def of_pictures(options, episodes, network, add):
    """Table 12: oracle supports that are pictures, for videos and for pictures; five of a class are drawn."""
    names = {category.id: category.name for category in episodes.dataset.categories}
    pictures = pictures_of(options, set(names.values()))
    alone = oracle_episodes(pictures, options.picture_root, shots=5, seed=episodes.seed)
    chosen = np.random.default_rng(episodes.seed).permutation(len(alone))[: options.episodes]
    alone = [alone[place] for place in chosen]
    called = {category.id: category.name for category in pictures.categories}
    supports = {called[e.category]: e.supports for e in alone}
    videos = [e for e in episodes.oracle if names[e.category] in supports]
    for k in (1, 5):
        mixed = [Episode(e.video, e.category, supports[names[e.category]][:k]) for e in videos]
        add("pictures for videos", k, evaluate(network, episodes.dataset, episodes.root, mixed))
        cut = [Episode(e.video, e.category, e.supports[:k]) for e in alone]
        add("pictures for pictures", k, evaluate(network, pictures, options.picture_root, cut))


def of_itself(episodes, network, kind, k):
    """Table 13: the episodes with pieces of the query as supports."""
    videos = {video.id: video for video in episodes.dataset.videos}
    found = [own_segment_tracks(network, videos[e.video], episodes.root, kind, k) for e in episodes.oracle]
    return score_episodes(episodes.dataset, episodes.oracle, found)


def trained(options, base, seed, **changes):
    """A network trained for this row."""
    settings = base.train.model_copy(update={"seed": seed, **({"steps": options.steps} if options.steps else {})})
    recipe = base.model_copy(update={"network": base.network.model_copy(update=changes), "train": settings})
    task = TransformerTask(recipe, read_ytvis(options.train), options.train.parent / "JPEGImages", options.initial)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as out:
        train(task, settings, Path(out), device=device)
        return load_transformer(Path(out) / "weights", device=device)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="YouTube-VIS file of seen classes")
    parser.add_argument("--eval", type=Path, required=True, help="YouTube-VIS file of unseen classes")
    parser.add_argument("--weights", type=Path, help="in place of training the network of tables 1, 5 and figure 2")
    parser.add_argument("--recipe", type=Path, help="in place of the scale's, for networks trained here")
    parser.add_argument("--initial", type=Path, help="ImageNet weights of the backbone")
    parser.add_argument("--encoder", action="append", default=[], help="NAME=FOLDER of a trained clip encoder")
    parser.add_argument("--tables", nargs="+", default=["1"], choices=TABLES)
    parser.add_argument("--pictures", type=Path, help="Table 12: COCO instances file")
    parser.add_argument("--picture-root", type=Path, help="its pictures")
    parser.add_argument("--shots", type=int, nargs="+", default=list(SHOTS), choices=SHOTS)
    parser.add_argument("--scale", choices=["small", "paper"], default="small")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0, help="of the --seeds seeds, to go on where a run ended")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--episodes", type=int, default=60)
    options = parser.parse_args()
    if options.scale == "small":
        torch.set_num_threads(1)
    path = options.recipe or RECIPES / f"transformer_{options.scale}.toml"
    base = TransformerRecipe.model_validate(tomllib.loads(path.read_text()))
    encoders = {"fixed": "fixed", **dict(pair.split("=", 1) for pair in options.encoder)}
    tables = {name: Scores(name) for name in options.tables}
    vectors, known = {}, {}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        episodes = Episodes(
            options.train, options.eval, most=options.episodes, seed=seed, vectors=vectors, shots=max(5, *options.shots)
        )
        if {"1", "5", "12", "13", "fig2"} & set(tables):
            if not vectors and {"1", "5", "fig2"} & set(tables):
                episodes.embed({name: load_embedder(folder) for name, folder in encoders.items()})
            network = load_transformer(options.weights) if options.weights else trained(options, base, seed)
            encoded = known if options.weights else {}

            def score(supported, network=network, encoded=encoded, episodes=episodes):
                return evaluate(network, episodes.dataset, episodes.root, supported, encoded=encoded)

            best = list(encoders)[-1]
            for method in ("random", *encoders, "oracle") if "1" in tables else ():
                for k in options.shots:
                    tables["1"].add(method, k, score(episodes.supported(method, k)))
            for found, given in PAPER_5 if "5" in tables else ():
                searched = episodes.supported(best, found, given=given)
                both = zip(episodes.supported("oracle", given), searched, strict=True)
                mixed = [Episode(a.video, a.category, a.supports + b.supports) for a, b in both]
                tables["5"].add(f"{found} found", given, score(mixed))
            for size in (10, 30, 100, None) if "fig2" in tables else ():
                supported = episodes.supported(best, 5, size)
                tables["fig2"].add(best, size or len(episodes.pool), score(supported))
            if "12" in tables:
                of_pictures(options, episodes, network.eval(), tables["12"].add)
            for kind in ("temporal", "spatial", "oracle") if "13" in tables else ():
                for k in (1, 5):
                    own = kind != "oracle"
                    result = of_itself(episodes, network.eval(), kind, k) if own else score(episodes.supported(kind, k))
                    tables["13"].add(kind, k, result)
        rows = {
            "3": {
                "dec": {"encoder_layers": 0, "fuser_layers": 0, "likeness": False},
                "enc+dec": {"fuser_layers": 0, "likeness": False},
                "fuser+dec": {"encoder_layers": 0}, "all": {},
            },
            "8": {f"{part} {n}": {f"{part}_layers": n} for part, depths in DEPTHS.items() for n in depths},
            "9": {name: {"position": name} for name in PAPER_9},
        }  # fmt: skip
        whole = None  # the unchanged network, which is a row of these tables
        for table in ("3", "8", "9"):
            for row, changes in rows[table].items() if table in tables else ():
                unchanged = all(getattr(base.network, name) == value for name, value in changes.items())
                network = whole if unchanged and whole else trained(options, base, seed, **changes)
                whole = network if unchanged else whole
                for k in (1, 5):
                    supported = episodes.supported("oracle", k)
                    tables[table].add(row, k, evaluate(network, episodes.dataset, episodes.root, supported))
    papers = {
        "1": {(row, k): value for row, values in PAPER_1.items() for k, value in zip(SHOTS, values, strict=True)},
        "3": {(row, k): value for row, values in PAPER_3.items() for k, value in zip((1, 5), values, strict=True)},
        "5": {(f"{found} found", given): value for (found, given), value in PAPER_5.items()},
        "9": {(row, k): value for row, values in PAPER_9.items() for k, value in zip((1, 5), values, strict=True)},
        "8": {
            (f"{part} {depth}", k): value
            for part, depths in DEPTHS.items()
            for depth, values in zip(depths, PAPER_8[part], strict=True)
            for k, value in zip((1, 5), values, strict=True)
        },
        "12": {(row, k): value for row, values in PAPER_12.items() for k, value in zip((1, 5), values, strict=True)},
        "13": {(row, k): value for row, values in PAPER_13.items() for k, value in zip((1, 5), values, strict=True)},
        "fig2": {},
    }
    for name, scores in tables.items():
        scores.show(f"Table {name}" if name != "fig2" else "Figure 2, by size of the pool", papers[name])


if __name__ == "__main__":
    main()
