r"""Table 4 (components) and Table 5 (one-way or bidirectional) of VIPMT; Tables 6 and 7 are in vipmt_memory.py.

    fewmask synth --from COCO.json --images images --out videos --videos 480 --frames 15 --size 160x288 \
        --objects 1-3 --classes-per-video 1-2
    python reproduce/vipmt_components.py --scale small --data videos/instances.json \
        --backbone mobilenet_v2.safetensors --out work
    python reproduce/vipmt_components.py --scale small --data videos/instances.json --weights small
    python reproduce/vipmt_components.py --scale paper --data train.json --root JPEGImages --backbone resnet50_v2.pth \
        --out work

At small scale every row goes on from the same weights of its fold, trained frame by frame ("Baseline") for
``--start-steps``; on a CPU that is what there is time for. With ``--weights`` nothing is trained: the parts of one
network are switched on at test time, on classes it has not seen, which favours what it was trained with. What is done
already in ``--out`` is not done again.

Classes are dealt into four folds by id, as the paper deals YouTube-VIS's forty; each fold's classes are tested on after
training on the others, every episode with supports of its own (protocol II). J, F and VC7 are means over frames,
classes, folds and runs; the paper's J stands beside them. The script says whether its order holds beyond the spread.
"""

import argparse
import json
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fewmask.metrics.contour import contour_accuracy
from fewmask.metrics.video_consistency import vc_vipmt
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.training.loop import train
from fewmask.vipmt.episodes import EpisodeSampler
from fewmask.vipmt.feature_cache import FeatureCache
from fewmask.vipmt.losses import iou_labels
from fewmask.vipmt.memory import ReliableMemory
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.recipe import VIPMTRecipe
from fewmask.vipmt.train import VIPMTTask, make_task
from fewmask.vipmt.training_videos import read_videos

RECIPES = Path(__file__).parents[1] / "recipes" / "vipmt"
ROWS: dict[str, tuple[float, dict[str, Any], str]] = {
    "Baseline": (57.8, {"clip_length": 1, "frame_prototypes": False, "memory_length": 0}, "off"),
    "+C": (61.8, {"frame_prototypes": False, "memory_length": 0}, "off"),
    "+C+F": (62.5, {"memory_length": 0}, "off"),
    "+C+F+M": (63.5, {}, "off"),
    "VIPMT (+CCDS)": (64.2, {}, "code"),
    "+C+F, one-way": (61.4, {"memory_length": 0, "bidirectional": False}, "off"),
}
PARTS = ("Baseline", "+C", "+C+F", "+C+F+M")
BOUNDED, TRUE_MEMORY = "+C+F+M", "true masks as M"
START_CLIPS = 4  # single frames of an episode while a fold's common start is trained
MakeTask = Callable[[VIPMTRecipe], VIPMTTask]
ORDER = ("Baseline", "+C", "+C+F", "+C+F+M", "VIPMT (+CCDS)")


def recipe_of(base: VIPMTRecipe, row: str, seed: int, steps: int | None) -> VIPMTRecipe:
    """The recipe of a row. All rows see as many query frames per step; memory is used in the second half."""
    _, changes, ccds = ROWS[row]
    settings = base.train.model_copy(update={"seed": seed, **({"steps": steps} if steps else {})})
    network = replace(base.network, **changes)
    trained = base.clip_length or base.network.clip_length
    length = min(trained, network.clip_length)
    changed = {
        "network": network,
        "ccds": ccds,
        "clip_length": length,
        "clips": base.clips * trained // length,
        "memory_after": settings.steps // 2 if base.memory_after else 0,
        "clips_before_memory": None,
        "train": settings,
    }
    return base.model_copy(update=changed)


class Figures(NamedTuple):
    """In per cent."""

    j: float
    f: float
    vc7: float


@torch.inference_mode()
def mean_figures(
    task: VIPMTTask,
    sampler: EpisodeSampler,
    episodes: int,
    *,
    threshold: float | None = None,
    true_memory: bool = False,
    judged: list[tuple[float, float]] | None = None,
) -> Figures:
    """Mean J, F and VC7 per class, then over classes.

    Memory is chosen by predicted IoU (``threshold``, by default the network's) and holds predicted masks;
    ``true_memory`` remembers every frame with its true mask, the most that any memory could give. (Predicted, true)
    IoUs are appended to ``judged``.
    """
    network, per_class = task.features.network.eval(), {}
    config = network.config
    least = config.memory_threshold if threshold is None else threshold
    for category in sampler.categories:
        scores: list[tuple[float, float, float]] = []
        for number in range(episodes):
            episode = sampler.draw(category, number)
            support, _ = task.encode(episode, episode.supports)
            memory = ReliableMemory(number, str(category))
            shots = [shot for clip in episode.clips for shot in clip]
            found, true, shares = [], [], []
            for clip, start in enumerate(range(0, len(shots), config.clip_length)):
                part = shots[start : start + config.clip_length]
                features = task.features.get(part)
                recalled = memory.recall(clip, config.memory_length)
                result = network.segment(features, config.input_size, support, recalled)
                truths = task.masks(episode, part)
                overlaps = iou_labels(result.masks, truths).tolist()
                shares += overlaps
                found.append(result.masks.cpu().numpy())
                true.append(truths.cpu().numpy())
                if judged is not None:
                    judged += zip(result.iou_scores.tolist(), overlaps, strict=True)
                reliable = result.iou_scores >= least
                for t, mask in enumerate(truths if true_memory else result.masks):
                    if (true_memory or reliable[t]) and mask.any():
                        memory.add(start + t, network.exemplars(features.take([t]), mask[None]))
            masks, gt = np.concatenate(found), np.concatenate(true)
            consistency = vc_vipmt(masks, gt, 7)
            scores.append(
                (
                    float(np.mean(shares)),
                    float(np.mean(contour_accuracy(masks, gt))),
                    float("nan") if consistency is None else consistency,
                )
            )
        per_class[category] = 100 * np.nanmean(scores, axis=0)
    return Figures(*np.mean(list(per_class.values()), axis=0).tolist())


def fold_start(arguments: argparse.Namespace, base: VIPMTRecipe, fold: int, make: MakeTask) -> Path:
    """Weights of a fold trained frame by frame, made now unless they are there."""
    out: Path = arguments.out / f"start_{fold}"
    if not (out / "figures.json").exists():
        recipe = recipe_of(base, "Baseline", 0, arguments.start_steps)
        recipe = recipe.model_copy(update={"clips": START_CLIPS})
        task = make(recipe)
        out.mkdir(parents=True, exist_ok=True)
        train(task, recipe.train, out, device=torch.device(arguments.device), resume=(out / "checkpoint.pt").exists())
    return out / "weights" / "model.safetensors"


def parts_of(arguments: argparse.Namespace, base: VIPMTRecipe) -> Iterator[tuple[str, int, int, Figures]]:
    """The rows as parts of one trained network that are switched on at test time, on classes it has not seen."""
    videos, names = read_videos(arguments.data, arguments.root)
    of_name = {name: category for category, name in names.items()}
    classes = [of_name[name] for name in arguments.classes]
    trained = VIPMT.from_pretrained(arguments.weights, device=arguments.device).network
    features = None
    for seed in range(arguments.runs):
        tested = EpisodeSampler(videos, classes, shots=base.shots, clip_length=trained.config.clip_length, clips=3,
                                views=1, seed=1000 + seed)  # fmt: skip
        for row in (row for row in arguments.rows if row in PARTS):
            config = replace(trained.config, **ROWS[row][1])
            network = VIPMTNetwork(config).to(arguments.device)
            network.load_state_dict(trained.state_dict(), strict=False)
            settings = base.train.model_copy(update={"batch_size": 1})
            task = VIPMTTask(base.model_copy(update={"network": config, "train": settings}), network, tested)
            if features is not None:
                features.network, task.features = network, features
            features = task.features
            yield row, 0, seed, mean_figures(task, tested, arguments.episodes)
            if row == BOUNDED:
                yield TRUE_MEMORY, 0, seed, mean_figures(task, tested, arguments.episodes, true_memory=True)


def runs(arguments: argparse.Namespace, base: VIPMTRecipe) -> Iterator[tuple[str, int, int, Figures]]:
    videos, names = read_videos(arguments.data, arguments.root)
    shown = [c for c in sorted(names) if sum(1 for v in videos if v.shown.get(c)) > base.shots]
    record = arguments.out / "figures.json"
    kept = json.loads(record.read_text()) if record.exists() else {}
    done = {key: Figures(*figures) for key, figures in kept.items()}
    cache: FeatureCache | None = None
    for seed, fold in product(range(arguments.runs), arguments.folds):
        novel = [category for index, category in enumerate(shown) if index % 4 == fold - 1]

        def make(recipe: VIPMTRecipe, novel: list[int] = novel) -> VIPMTTask:
            nonlocal cache
            hidden = {names[category] for category in novel}
            task = make_task(recipe, arguments.data, arguments.backbone, root=arguments.root, novel=hidden)
            if cache is not None:  # the backbone is frozen and the same: a picture is encoded once for all rows
                cache.network = task.features.network
                task.features = cache
            cache = task.features
            return task

        for row in arguments.rows:
            key = f"{row}, fold {fold}, run {seed}"
            if key not in done:
                recipe = recipe_of(base, row, seed, arguments.steps)
                task = make(recipe)
                if arguments.start_steps:
                    start = read_checkpoint(fold_start(arguments, base, fold, make))
                    task.network.load_state_dict(start, strict=False)
                    task.features.network = task.network
                with tempfile.TemporaryDirectory() as folder:
                    train(task, recipe.train, Path(folder), device=torch.device(arguments.device))
                tested = EpisodeSampler(
                    videos, novel, shots=base.shots, clip_length=base.network.clip_length, clips=3, views=1,
                    seed=1000 + seed,
                )  # fmt: skip
                done[key] = mean_figures(task, tested, arguments.episodes)
                if row == BOUNDED:
                    done[f"{key}, true masks"] = mean_figures(task, tested, arguments.episodes, true_memory=True)
                record.write_text(json.dumps(done, indent=1))
            yield row, fold, seed, done[key]
            if f"{key}, true masks" in done:
                yield TRUE_MEMORY, fold, seed, done[f"{key}, true masks"]


def paper_of(row: str) -> str:
    return f"{ROWS[row][0]:.1f}" if row in ROWS else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--weights", help="train nothing: switch parts of this network on, one after the other")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=["stop sign", "dog", "bear", "hot dog", "couch", "clock"],
        help="with --weights: classes to test on; those that the bundled network has not seen",
    )
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--folds", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--episodes", type=int, default=5, help="test episodes per class")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="starts and figures; what is there is not made again")
    parser.add_argument("--start-steps", type=int, default=0, help="steps of the common start of a fold; 0 = none")
    arguments = parser.parse_args()
    if arguments.weights is None:
        if arguments.out is None or arguments.backbone is None:
            parser.error("training needs --backbone and --out")
        arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.scale == "small":
        torch.set_num_threads(1)
    name = "small_components" if arguments.scale == "small" else "paper"
    base = VIPMTRecipe.model_validate(tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8")))
    found: dict[str, dict[int, list[Figures]]] = {row: {} for row in (*arguments.rows, TRUE_MEMORY)}
    table = parts_of if arguments.weights else runs
    for row, fold, seed, figures in table(arguments, base):
        found[row].setdefault(seed, []).append(figures)
        shown = ", ".join(f"{name} {value:.1f}" for name, value in figures._asdict().items())
        print(f"{row:16} fold {fold} run {seed}: {shown}", flush=True)
    print(
        f"\n{'':16} {'J, mean of runs':>16} {'spread':>7} {'paper':>6} {'F':>6} {'spread':>7} {'VC7':>6} {'spread':>7}"
    )
    means, spreads = {}, {}
    for row, by_seed in found.items():
        if not by_seed:
            continue
        per_run = np.array([np.mean(values, axis=0) for values in by_seed.values()])
        (means[row], f, vc7), (spreads[row], *others) = per_run.mean(0).tolist(), per_run.std(0).tolist()
        rest = "".join(f" {mean:6.1f} {spread:7.1f}" for mean, spread in zip((f, vc7), others, strict=True))
        print(f"{row:16} {means[row]:16.1f} {spreads[row]:7.1f} {paper_of(row):>6}{rest}")
    done = [row for row in ORDER if row in means]
    for lower, higher in pairwise(done):
        gap, noise = means[higher] - means[lower], max(spreads[lower], spreads[higher])
        verdict = (
            "as in the paper" if gap > noise else ("within the spread" if abs(gap) <= noise else "NOT as in the paper")
        )
        print(f"{lower} < {higher}: {gap:+.1f}, {verdict}")


if __name__ == "__main__":
    main()
