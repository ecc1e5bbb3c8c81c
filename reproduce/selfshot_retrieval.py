r"""Retrieval of Self-Shot alone: precision@5 by class on classes that no encoder has seen (the encoders of Table 1).

    fewmask synth --from coco.json --out edited --videos 800 --frames 12 --shots 6 --size 112x192 \
        --object-size 0.55-1.1 --min-side 48 --objects 1-2 --classes-per-video 1-2 --seed 21 \
        --hold-out-classes umbrella,cat,...
    fewmask synth --from coco.json --out unseen --videos 160 --frames 6 --size 112x192 --object-size 0.55-1.1 \
        --min-side 48 --objects 2-2 --classes-per-video 2-2 --classes umbrella,cat,... --seed 12
    python reproduce/selfshot_retrieval.py --train edited/instances.json --eval unseen/instances.json \
        --initial mobilenet.safetensors --save encoders

Training videos have several shots, as edited videos do: the same objects before several backgrounds. Where a video has
but one, its clips share their background, and the objectives learn scenery as gladly as objects.

With --davis, the same encoders also search real clips: queries are the training sequences of DAVIS, relevant are others
of the same nearest COCO class, and the videos of --distractors are in the pool as well. The figure is the mean average
precision, for some classes have two sequences and others ten.

Encoders learn on the videos of --train, without their labels. A query is a video of --eval; the pool is all others of
--eval, and those of --train as distractors. Every row has the same frozen backbone, which sees every view once; what
learns is a residual layer over its features (recipes/selfshot/clip_encoder_small.toml). `--scale paper` trains the
recipe clip_encoder_paper.toml instead, all of it, on the folders of --videos.

The paper prints no precision. Its video AP with supports found by each encoder (Table 1, five shots): random 44.9,
fixed 48.3, MoCo 51.6, MIL-NCE 52.5, rank 54.3.
"""

import argparse
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import torch
from vipmt_davis import NEAREST

from fewmask.datasets.ytvis import read_ytvis
from fewmask.media.find_videos import find_videos
from fewmask.media.frames import open_frames
from fewmask.retrieval.clips import square
from fewmask.retrieval.encoder import ClipNetwork, save_encoder
from fewmask.retrieval.initial_weights import start_from
from fewmask.retrieval.train import ClipEncoderRecipe, ClipEncoderTask
from fewmask.training.loop import train

RECIPES = Path(__file__).parents[1] / "recipes" / "selfshot"
OBJECTIVES = {"MoCo": "instance", "MIL-NCE": "mil_nce", "rank": "rank"}
K = 5


def folders(path):
    """The videos of a YouTube-VIS file as (folder of frames, classes shown)."""
    dataset = read_ytvis(path)
    shown = {video.id: set() for video in dataset.videos}
    for annotation in dataset.annotations:
        shown[annotation.video_id].add(annotation.category_id)
    return [(path.parent / "JPEGImages" / Path(v.file_names[0]).parent, shown[v.id]) for v in dataset.videos]


@torch.inference_mode()
def features_of(network, videos):
    """What the backbone says of each whole video, [N, width]."""
    found = []
    for video in videos:
        with open_frames(video, skip_broken=True) as frames:
            pictures = [frame.rgb for frame in frames]
        chosen = np.linspace(0, len(pictures) - 1, network.config.frames).round().astype(int)
        clip = np.stack([square(pictures[place], network.config.side) for place in chosen])
        found.append(network.backbone_features(torch.from_numpy(clip)[None])[0])
    return torch.stack(found)


def all_views(task, videos):
    """What the frozen backbone says of every fixed view, [videos, views, width]."""
    task.network.eval()
    return np.stack([[task._known_view(v, i) for i in range(task.recipe.views)] for v in range(videos)])


def kept(folder, name, make):
    """An array from the cache, made at first use."""
    if folder is None:
        return make()
    path = folder / f"{name}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.load(path)


@torch.inference_mode()
def precision(network, features, classes, queries):
    """Mean over classes of the mean share of the K nearest others that show the query's class."""
    vectors = network(features) if features is not None else None
    by_class = {}
    for query in range(queries):
        if vectors is None:
            relevant = [bool(classes[other] & classes[query]) for other in range(len(classes)) if other != query]
            share = float(np.mean(relevant))
        else:
            cosines = vectors @ vectors[query]
            cosines[query] = -2
            share = float(np.mean([bool(classes[n] & classes[query]) for n in cosines.topk(K).indices.tolist()]))
        for category in classes[query]:
            by_class.setdefault(category, []).append(share)
    return float(np.mean([np.mean(shares) for shares in by_class.values()]))


class RealClips:
    """DAVIS sequences among other videos: does an encoder find those of the same class?"""

    def __init__(self, davis, distractors, network):
        self.names = sorted(NEAREST)
        places = [davis / "JPEGImages" / name for name in self.names] + find_videos(distractors)
        self.features = features_of(network, places)

    def mean_average_precision(self, network):
        """Over queries, then over classes."""
        with torch.inference_mode():
            cosines = (vectors := network(self.features)) @ vectors.T
        by_class = {}
        for query, name in enumerate(self.names):
            relevant = [name != other and bool({*NEAREST[name]} & {*NEAREST[other]}) for other in self.names]
            relevant = np.array(relevant + [False] * (len(cosines) - len(relevant)))
            if not relevant.any():
                continue
            order = [place for place in cosines[query].argsort(descending=True).tolist() if place != query]
            ranks = np.flatnonzero(relevant[order]) + 1
            for category in NEAREST[name]:
                by_class.setdefault(category, []).append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        return float(np.mean([np.mean(values) for values in by_class.values()]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="YouTube-VIS file of seen classes")
    parser.add_argument("--eval", type=Path, required=True, help="YouTube-VIS file of unseen classes")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="more unlabelled videos to learn on")
    parser.add_argument("--initial", type=Path, required=True, help="ImageNet weights of the backbone")
    parser.add_argument("--scale", choices=["small", "paper"], default="small")
    parser.add_argument("--recipe", type=Path, help="in place of the scale's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--views", type=int)
    parser.add_argument("--frames", type=int, help="pictures per clip")
    parser.add_argument("--side", type=int, help="pixels of a picture's side")
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--davis", type=Path, help="folder with DAVIS's JPEGImages: real clips as well")
    parser.add_argument("--distractors", type=Path, nargs="*", default=[], help="more real videos for that pool")
    parser.add_argument("--save", type=Path, help="keep the encoders of the first seed here, one folder per objective")
    parser.add_argument("--cache", type=Path, help="folder that keeps what a frozen backbone says, for the next call")
    options = parser.parse_args()
    torch.set_num_threads(1 if options.scale == "small" else torch.get_num_threads())
    path = options.recipe or RECIPES / f"clip_encoder_{options.scale}.toml"
    base = ClipEncoderRecipe.model_validate(tomllib.loads(path.read_text()))
    if options.views:
        base = base.model_copy(update={"views": options.views})
    shape = {name: value for name in ("frames", "side") if (value := getattr(options, name))}
    base = base.model_copy(update={"network": base.network.model_copy(update=shape)})
    seen, unseen = folders(options.train), folders(options.eval)
    classes = [shown for _, shown in unseen + seen]
    videos = [video for video, _ in seen] + find_videos(options.videos)
    start = ClipNetwork(base.network)
    start_from(start, options.initial)
    start.eval()
    frozen = base.backbone_rate == 0
    pool = [video for video, _ in unseen + seen]
    features = torch.from_numpy(kept(options.cache, "pool", lambda: features_of(start, pool).numpy()))
    print(f"{len(unseen)} queries of {len(set().union(*(c for _, c in unseen)))} unseen classes, pool of {len(pool)}")
    print(f"{'random':<10} {100 * precision(start, None, classes, len(unseen)):5.1f}  (expected)")
    rows = {"fixed": [precision(start, features, classes, len(unseen))]}
    print(f"{'fixed':<10} {100 * rows['fixed'][0]:5.1f}", flush=True)
    real = RealClips(options.davis, options.distractors, start) if options.davis else None
    if real:
        print(f"{'':<10} real clips: mAP {100 * real.mean_average_precision(start):.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in options.objectives:
            objective = OBJECTIVES[row]
            rows[row], of_real = [], []
            for seed in range(options.seeds):
                settings = base.train.model_copy(
                    update={"seed": seed, **({"steps": options.steps} if options.steps else {})}
                )
                recipe = base.model_copy(update={"objective": objective, "train": settings})
                task = ClipEncoderTask(recipe, videos, Path(folder) / "frames", options.initial)
                if base.views:  # the same for every seed, and for both objectives on clips
                    name = "frames" if objective == "instance" else "clips"
                    known = kept(options.cache or Path(folder), name, lambda task=task: all_views(task, len(videos)))
                    task._views = {place: known[place] for place in np.ndindex(known.shape[:2])}
                out = Path(folder) / f"{row}-{seed}"
                out.mkdir()
                train(task, settings, out, device=torch.device("cpu" if frozen else "cuda"))
                network = task.network.query_encoder.eval()
                known = features if frozen else features_of(network, pool)
                rows[row].append(precision(network, known, classes, len(unseen)))
                if real:
                    of_real.append(real.mean_average_precision(network))
                if options.save and seed == 0:
                    save_encoder(network, options.save / objective)
            values = 100 * np.array(rows[row])
            print(f"{row:<10} {values.mean():5.1f} ± {values.std():.1f}  {values.round(1).tolist()}", flush=True)
            if real:
                values = 100 * np.array(of_real)
                print(f"{'':<10} real clips: mAP {values.mean():.1f} ± {values.std():.1f}  {values.round(1).tolist()}")
    fixed = rows["fixed"][0]
    for row in options.objectives:
        print(f"{row} beats fixed features in {sum(value > fixed for value in rows[row])} of {options.seeds} seeds")


if __name__ == "__main__":
    main()
