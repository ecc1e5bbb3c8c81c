r"""Temporal action localisation with found supports: Table 2 (right half) and Table 13 of Self-Shot.

    python reproduce/selfshot_localisation.py --seeds 3 --cache ROWS      # made videos, a quarter of an hour a seed
    python reproduce/selfshot_localisation.py --scale paper --annotations activity_net.v1-3.min.json \
        --features i3d --unseen CLASS CLASS ...                             # rows of a video network, FEATURES/NAME.npy
    python reproduce/selfshot_localisation.py --scale paper --thumos TH14_annotations_test --features i3d --unseen ...

Made videos (`fewmask.datasets.synth_actions`): ten programs of motion are seen in training, six are not. A query shows
the program in question in three stretches and two others, one each, as long; it idles between. The pool is trimmed
clips of all sixteen, unlabelled. Supports are drawn from it at random, found in it by the query (by frozen rows; by an
encoder that has learned with the ranking loss of the paper, on crops of the unlabelled pool), or of the class (oracle).
Baselines without other videos: a localiser without supports that takes whatever was an action in training (zero-shot),
and pieces of the query as supports, in time or in space (Table 13). Two rows tell whether the supports have a say at
all: "other" gives clips of one other class, "nothing" rows of the mean motion. Printed: mean over classes of the
temporal AP at tIoU 0.5, and averaged over 0.5 to 0.95, mean and spread over seeds of videos, training and draws.

The paper's figures are video mAP at 0.5 on Thumos14: zero-shot 43.4, self-shot 45.8 (1) and 47.3 (5), with five given
besides 47.7 and 48.0, temporal segments 40.7 and 41.9, spatial segments 41.1 and 42.4.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fewmask.datasets.actions import read_activitynet, read_thumos14
from fewmask.datasets.synth_actions import FRAMES_PER_SECOND, PROGRAMS, query_video, support_video
from fewmask.metrics.temporal_precision import mean_temporal_ap
from fewmask.retrieval.losses import rank_loss
from fewmask.selfshot.localiser import LocaliserConfig
from fewmask.selfshot.localiser_train import ActionQuery, LocaliserTask, localise
from fewmask.selfshot.motion_features import motion_rows
from fewmask.training.loop import train
from fewmask.training.settings import TrainSettings

UNSEEN = ("fast_shake", "slow_nod", "fast_slash", "slow_circle", "fast_spin", "slow_hop")
SHOTS = (1, 5)
PIECE = 4  # rows
METHODS = ("none", "nothing", "other", "temporal", "spatial", "random", "fixed", "rank", "oracle")
PAPER = {"self-shot": (45.8, 47.3), "temporal": (40.7, 41.9), "spatial": (41.1, 42.4), "none": (43.4, 43.4)}


class Made:
    """Seen and unseen queries, and a pool, drawn from one seed."""

    def __init__(self, seed, queries, clips):
        print(f"(seed {seed}: videos are made)", flush=True)
        seen = [name for name in PROGRAMS if name not in UNSEEN]
        number = seed * 100_000
        self.seen, self.unseen, self.parts = [], [], []
        for classes, found in ((seen, self.seen), (UNSEEN, self.unseen)):
            for label in classes:
                for _ in range(queries if classes is seen else queries // 2):
                    number += 1
                    made = query_video(str(number), label, PROGRAMS if classes is UNSEEN else seen, number)
                    found.append(self._query(made, label))
                    if classes is UNSEEN:
                        self.parts.append(quarters(made.frames))
        self.pool = []  # (label, rows); the label is for the oracle alone
        for label in PROGRAMS:
            for _ in range(clips):
                number += 1
                made = support_video(str(number), label, number)
                self.pool.append((label, torch.from_numpy(motion_rows(list(made.frames)))))

    def _query(self, made, label):
        seconds = len(made.frames) / FRAMES_PER_SECOND
        stretches = tuple((a.start / seconds, a.end / seconds) for a in made.video.actions if a.label == label)
        return ActionQuery(torch.from_numpy(motion_rows(list(made.frames))), label, stretches)


class Real:
    """Annotated videos and rows of a video network; supports are the annotated stretches, cut out."""

    def __init__(self, videos, features, unseen):
        self.seen, self.unseen, self.pool, self.parts = [], [], [], []
        for video in videos:
            path = features / f"{video.name}.npy"
            if not path.exists():
                raise SystemExit(f"{path}: no rows of {video.name}; save them as float32 [N, C]")
            rows = torch.from_numpy(np.load(path, allow_pickle=False)).float()
            length = video.duration or max(action.end for action in video.actions)
            for label in sorted({action.label for action in video.actions}):
                spans = [(a.start / length, min(1.0, a.end / length)) for a in video.actions if a.label == label]
                (self.unseen if label in unseen else self.seen).append(ActionQuery(rows, label, tuple(spans)))
                for start, end in spans:
                    first = int(start * len(rows))
                    self.pool.append((label, rows[first : max(first + 1, int(np.ceil(end * len(rows))))]))


def quarters(frames):
    """Rows of the four corners of a video, the spatial segments of Table 13."""
    height, width = frames.shape[1:3]
    tall, wide = range(0, height, height // 2), range(0, width, width // 2)
    corners = [frames[:, y : y + height // 2, x : x + width // 2] for y in tall for x in wide]
    return [torch.from_numpy(motion_rows(list(corner))) for corner in corners]


def trained_encoder(pool, seed, steps=400):
    """A residual layer over the mean row, taught with the ranking loss on crops of unlabelled clips."""
    torch.manual_seed(seed)
    rows = [rows for _, rows in pool]
    every = torch.cat(rows)
    mean, deviation = every.mean(0), every.std(0) + 1e-4
    width = every.shape[1]
    layer = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
    nn.init.zeros_(layer[2].weight)

    def embed(clip):
        x = (clip - mean) / deviation
        return (x + layer(x)).mean(0)

    optimizer = torch.optim.AdamW(layer.parameters(), 1e-3)
    chance = np.random.default_rng((seed, 5))
    for _ in range(steps):
        chosen = chance.choice(len(rows), min(32, len(rows)), replace=False).tolist()
        views = []
        for clip in chosen:
            length = max(2, len(rows[clip]) // 2)
            starts = chance.integers(0, max(1, len(rows[clip]) - length + 1), 3).tolist()
            views.append(torch.stack([embed(rows[clip][s : s + length]) for s in starts]))
        views = torch.stack(views)
        losses = []
        for place in range(len(views)):
            others = torch.cat([views[:place], views[place + 1 :]]).flatten(0, 1)
            losses.append(rank_loss(views[place, 0], views[place, 1:], others.detach(), temperature=0.05))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    return embed


def fixed_encoder(pool):
    """The mean of the scaled rows."""
    every = torch.cat([rows for _, rows in pool])
    mean, deviation = every.mean(0), every.std(0) + 1e-4
    return lambda clip: ((clip - mean) / deviation).mean(0)


def supports_of(method, query, place, data, vectors, k, seed):
    """Rows of k supports, and how many of them are of the query's class."""
    chance = np.random.default_rng((seed, 3, place))
    own = [i for i, (_, rows) in enumerate(data.pool) if rows.data_ptr() != query.rows.data_ptr()]
    if method == "temporal":
        return [piece for piece in query.rows.tensor_split(k) if len(piece)], None
    if method == "spatial":
        return data.parts[place][:k], None
    if method == "nothing":
        return [torch.cat([rows for _, rows in data.pool]).mean(0)[None]] * k, None
    if method == "random":
        chosen = chance.choice(own, k, replace=False).tolist()
    elif method == "oracle":
        chosen = chance.choice([i for i in own if data.pool[i][0] == query.label], k, replace=False).tolist()
    elif method == "other":
        label = chance.choice(sorted({label for label, _ in data.pool} - {query.label}))
        chosen = chance.choice([i for i in own if data.pool[i][0] == label], k, replace=False).tolist()
    else:
        embed, table = vectors[method]
        with torch.no_grad():
            pieces = torch.stack([embed(query.rows[s : s + PIECE]) for s in range(0, len(query.rows) - PIECE // 2, 2)])
            cosines = nn.functional.cosine_similarity(pieces[:, None], table[None], dim=2)
            votes = (cosines / 0.1).exp().mean(0)  # an untrimmed query votes piece by piece
        chosen = [i for i in votes.argsort(descending=True).tolist() if i in set(own)][:k]
    return [data.pool[i][1] for i in chosen], float(np.mean([data.pool[i][0] == query.label for i in chosen]))


def measure(network, data, method, vectors, k, seed):
    """(AP at 0.5, mean over thresholds, share of supports of the class), in percent."""
    found, truth, shares = {}, {}, []
    for place, query in enumerate(data.unseen):
        supports, share = ([], None) if method == "none" else supports_of(method, query, place, data, vectors, k, seed)
        found.setdefault(query.label, {})[str(place)] = localise(network, query.rows, supports)
        truth.setdefault(query.label, {})[str(place)] = query.stretches
        shares.append(np.nan if share is None else share)
    scores = mean_temporal_ap(found, truth)
    return 100 * np.array([scores[0], scores.mean(), np.mean(shares)])


def made(seed, options):
    """The videos of a seed as rows; from the cache where it has them."""
    if options.cache is None:
        return Made(seed, options.queries, options.clips)
    path = options.cache / f"{seed}.{options.queries}.{options.clips}.npz"
    if not path.exists():
        data = Made(seed, options.queries, options.clips)
        kept = {f"pool.{label}.{i}": rows.numpy() for i, (label, rows) in enumerate(data.pool)}
        for kind, queries in (("seen", data.seen), ("unseen", data.unseen)):
            for i, query in enumerate(queries):
                kept[f"{kind}.{query.label}.{i}"] = query.rows.numpy()
                kept[f"{kind}-stretches.{query.label}.{i}"] = np.array(query.stretches)
        for i, parts in enumerate(data.parts):
            kept[f"parts..{i}"] = np.stack([part.numpy() for part in parts])
        options.cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, **kept)
    data = Made.__new__(Made)
    data.seen, data.unseen, data.parts, data.pool = [], [], [], []
    with np.load(path) as kept:
        for name in kept:
            kind, label, number = name.split(".")
            if kind == "pool":
                data.pool.append((label, torch.from_numpy(kept[name])))
            elif kind == "parts":
                data.parts.append(list(torch.from_numpy(kept[name])))
            elif kind in ("seen", "unseen"):
                spans = kept[f"{kind}-stretches.{label}.{number}"]
                query = ActionQuery(torch.from_numpy(kept[name]), label, tuple(map(tuple, spans.tolist())))
                (data.seen if kind == "seen" else data.unseen).append(query)
    return data


def trained(data, seed, steps, **changes):
    settings = TrainSettings(
        steps=steps, batch_size=8, learning_rate=5e-4, clip_norm=1.0, schedule="cosine", seed=seed, log_every=500,
        checkpoint_every=10**6,
    )  # fmt: skip
    by_class = {}
    for label, rows in data.pool:
        by_class.setdefault(label, []).append(rows)
    config = LocaliserConfig(features=data.seen[0].rows.shape[1], **changes)
    task = LocaliserTask(config, settings, data.seen, by_class)
    with tempfile.TemporaryDirectory() as out:
        train(task, settings, Path(out), device=torch.device("cpu"))
    return task.network.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=["small", "paper"], default="small")
    parser.add_argument("--annotations", type=Path, help="an ActivityNet file")
    parser.add_argument("--thumos", type=Path, help="folder of THUMOS14's CLASS_test.txt")
    parser.add_argument("--features", type=Path, help="folder of NAME.npy, rows of a frozen video network")
    parser.add_argument("--unseen", nargs="+", default=[], help="classes that training does not see")
    parser.add_argument(
        "--queries", type=int, default=16, help="made videos per seen class, half as many per unseen one"
    )
    parser.add_argument("--clips", type=int, default=12, help="clips per class in the made pool")
    parser.add_argument("--cache", type=Path, help="folder that keeps the rows of made videos")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        if options.scale == "small":
            data = made(seed, options)
        else:
            if options.features is None or not options.unseen or not (options.annotations or options.thumos):
                parser.error("--scale paper needs --annotations or --thumos, --features and --unseen")
            videos = read_activitynet(options.annotations) if options.annotations else read_thumos14(options.thumos)
            data = Real(videos, options.features, set(options.unseen))
        vectors = {}
        for name, embed in (("fixed", fixed_encoder(data.pool)), ("rank", trained_encoder(data.pool, seed))):
            with torch.no_grad():
                vectors[name] = embed, torch.stack([embed(clip) for _, clip in data.pool])
        network = trained(data, seed, options.steps)
        blind = trained(data, seed, options.steps, fuser_layers=0, likeness=False)
        for method in METHODS:
            for k in SHOTS:
                if method == "spatial" and not data.parts:
                    continue
                figures = measure(blind if method == "none" else network, data, method, vectors, k, seed)
                rows.setdefault((method, k), []).append(figures)
                print(f"(seed {seed}, {method}, {k}: {figures.round(1).tolist()})", flush=True)
    print("supports   shots   AP50 (spread)   mean AP 50:95 (spread)   of the class, %   paper's AP50")
    for (method, k), figures in rows.items():
        mean, spread = np.mean(figures, 0), np.std(figures, 0)
        paper = PAPER.get("self-shot" if method == "rank" else method)
        printed = "" if paper is None else paper[SHOTS.index(k)]
        print(
            f"{method:<10} {k:>5}   {mean[0]:5.1f} ({spread[0]:3.1f})    {mean[1]:5.1f} ({spread[1]:3.1f})"
            f"               {mean[2]:5.1f}           {printed}",
            flush=True,
        )


if __name__ == "__main__":
    main()
