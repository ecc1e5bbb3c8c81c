"""Does training on mined masks help? The paper's Tables 1, 2, 4 and 5 on videos whose masks are hidden from mining.

    python reproduce/mining_tables.py --davis DAVIS --coco COCO_MINI --cache CACHE --out RUN [--scale small]

Every arm fine-tunes the proposal network (or retrains it, mixed with labelled pictures) on the masks that one way of
selecting keeps in the first frames of every DAVIS video, then measures class-agnostic AP on later frames of the same
videos, which nothing was trained on, and on held-out labelled pictures (seen classes). Two arms are upper bounds:
"selected with ground truth" keeps the proposal that fits the truth best, "trained with ground truth" takes the truth.
Arms already in the run's folder are not trained again, so a run that stopped goes on.

The seen classes are COCO's 80, since the bundled network is class-agnostic on all of them. DAVIS is unseen in its
videos, in kinds of object that COCO lacks, and in what counts as one object (a rider with the bicycle). DAVIS is used
to measure alone: no weights trained here are shipped. ``--scale paper`` uses all frames and the paper's 1,000 steps.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mining_clips import Clip, Tally, add_source, held_out_clip, iou, mining_clip, proposals, read, source_of
from mining_selection import ABLATIONS, ALL, THRESHOLDS, distilled, selected

from fewmask.datasets.coco import CocoDataset, CocoImage, annotation_of, read_coco
from fewmask.datasets.coco_results import CocoResult
from fewmask.media import rle
from fewmask.metrics import evaluate_coco
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.settings import MiningSettings
from fewmask.minvis.train import MinvisTask
from fewmask.pipelines.mine import MINVIS_SCORE_THRESHOLD, MinvisProposals
from fewmask.pipelines.mine_request import RefineRequest
from fewmask.pipelines.refine import RECIPE, training_mix
from fewmask.training.loop import train

SCALES = {"small": {"frames": 8, "step": 2, "steps": 120}, "paper": {"frames": 10**6, "step": 1, "steps": 1000}}
PAPER = {  # Unseen-VIS-test AP, AP50; COCO AP after it, where Table 5 has it
    "before": (35.8, 61.2, 35.3), "data distillation": (36.6, 63.8, None), "L_I": (36.6, 65.2, None),
    "L_I + constraint": (38.1, 64.6, None), "+ L_F": (38.7, 67.0, None), ALL: (39.0, 67.9, 32.1),
    f"{ALL}, retrained": (38.9, 67.8, 35.0), "selected with ground truth": (42.7, 75.1, None),
    "trained with ground truth": (50.8, 80.9, 24.0),
}  # fmt: skip
RETRAINED = ", retrained"
ARMS = ("before", ALL, "selected with ground truth", "best threshold", f"{ALL}, retrained", "data distillation",
        "top-1", "L_I + constraint", "L_I", "+ L_F", "trained with ground truth",
        "best threshold, retrained", "top-1, retrained", "selected with ground truth, retrained")  # fmt: skip
Kept = dict[Path, np.ndarray]


def kept_by(clips: list[Clip], cache: Path, weights: str, threshold: float, mirrored: bool) -> dict[str, Kept]:
    """What every way of selecting keeps: arm -> picture -> masks [n, H, W]."""
    answers: dict[str, Kept] = {}
    found = {clip.name: proposals(clip, cache, lambda: MinvisProposals(weights, "cpu")) for clip in clips}
    for clip in clips:
        for title, masks in ablations(clip, found[clip.name], cache, threshold).items():
            answers.setdefault(title, {}).update(zip(clip.pictures, masks, strict=True))
    answers["best threshold"] = above_best_threshold(clips, found)
    if mirrored:
        again = {c.name: proposals(c, cache, lambda: MinvisProposals(weights, "cpu"), mirrored=True) for c in clips}
        confirmed = {clip.name: distilled(found[clip.name], again[clip.name]) for clip in clips}
        answers["data distillation"] = above_best_threshold(clips, confirmed)
    answers["top-1"], answers["selected with ground truth"], answers["trained with ground truth"] = {}, {}, {}
    for clip in clips:
        for picture, (masks, scores), truth in zip(clip.pictures, found[clip.name], clip.truths, strict=True):
            best = masks[np.argsort(-scores, kind="stable")[:15]]
            fits = np.array([[iou(mask, one) for mask in best] for one in truth]).reshape(len(truth), len(best))
            answers["top-1"][picture] = best[:1]
            fitting = sorted({int(row.argmax()) for row in fits if row.size and row.max() >= 0.5})
            answers["selected with ground truth"][picture] = best[fitting]
            answers["trained with ground truth"][picture] = truth
    return answers


def ablations(
    clip: Clip, found: list[tuple[np.ndarray, np.ndarray]], cache: Path, threshold: float
) -> dict[str, list[np.ndarray]]:
    """What each ablation keeps of every frame of a clip, [n, H, W]; from the cache where it has them."""
    path = cache / f"{clip.name}.{len(clip.pictures)}.{threshold:g}.kept.json"
    size = list(clip.truths[0].shape[1:])
    if not path.exists():
        network = BackgroundNet.from_pretrained()
        backgrounds = [network.background(read(picture)) for picture in clip.pictures]
        kept = {title: selected(clip, found, backgrounds, MiningSettings(score_threshold=threshold, **changes))[2]
                for title, changes in ABLATIONS.items()}  # fmt: skip
        codes = {title: [[c["counts"] for c in rle.encode_many(masks)] if len(masks) else [] for masks in frames]
                 for title, frames in kept.items()}  # fmt: skip
        path.write_text(json.dumps(codes))
    nothing = np.zeros((0, *size), dtype=bool)
    return {
        title: [
            rle.decode_many([{"size": size, "counts": c} for c in counts]) if counts else nothing for counts in frames
        ]
        for title, frames in json.loads(path.read_text()).items()
    }


def above_best_threshold(clips: list[Clip], found: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> Kept:
    """The proposals above the threshold whose F1 against the truth is best: an upper bound for thresholding."""
    tallies = {threshold: Tally() for threshold in THRESHOLDS}
    for clip in clips:
        for (masks, scores), truth in zip(found[clip.name], clip.truths, strict=True):
            for threshold, tally in tallies.items():
                tally.add(masks[scores >= threshold][:15], truth)
    best = max(tallies, key=lambda threshold: tallies[threshold].f1)
    return {
        picture: masks[scores >= best][:15]
        for clip in clips
        for picture, (masks, scores) in zip(clip.pictures, found[clip.name], strict=True)
    }


def dataset_of(kept: Kept, root: Path) -> CocoDataset:
    """Pictures with masks as a COCO dataset; those without are left out, as training does."""
    images, annotations = [], []
    for picture, every in kept.items():
        masks = every[every.any(axis=(1, 2))]
        if len(masks):
            height, width = masks.shape[1:]
            images.append(CocoImage(len(images) + 1, str(picture.relative_to(root)), height, width))
            for code in rle.encode_many(np.ascontiguousarray(masks)):
                annotations.append(
                    annotation_of(code, annotation_id=len(annotations) + 1, image_id=len(images), category_id=1)
                )
    return CocoDataset(tuple(images), tuple(annotations), {1: "object"}, root)


def figures(weights: str | Path, dataset: CocoDataset) -> dict[str, float]:
    """AP, AP50, AP75, AR1, AR3, AR5 and AP by size, class-agnostic."""
    proposer, results = MinvisProposals(weights, "cpu"), []
    for image in dataset.images:
        masks, scores = proposer.propose(read(dataset.path_of(image)))
        for code, score in zip(rle.encode_many(masks), scores, strict=True):
            results.append(CocoResult(image_id=image.id, category_id=1, mask=code, score=float(score)))
    return {name: 100 * value for name, value in evaluate_coco(dataset, results).items() if value is not None}


def held_out_of(labelled: CocoDataset, count: int) -> CocoDataset:
    images = [image for image in labelled.images if image.id % 5 == 0 and image.extra.get("all80", True)][:count]
    ids = {image.id for image in images}
    return replace(labelled, images=tuple(images),
                   annotations=tuple(a for a in labelled.annotations if a.image_id in ids))  # fmt: skip


def refined(arm: str, kept: Kept, arguments: argparse.Namespace, labelled: CocoDataset, steps: int) -> Path:
    """Weights after training on what an arm keeps."""
    folder = arguments.out / "".join(letter if letter.isalnum() else "_" for letter in arm)
    folder.mkdir(parents=True, exist_ok=True)
    strategy = "retrain" if arm.endswith(RETRAINED) else "finetune"
    source = dataset_of(kept, source_of(arguments).frames)
    data = replace(training_mix(source, labelled, RefineRequest(strategy)), validate=None)
    optimisation = {"steps": steps, "warmup": min(10, steps // 4), "learning_rate": arguments.rate, "ema": 0.97,
                    "checkpoint_every": 10}  # fmt: skip
    settings = RECIPE.train.model_copy(update=optimisation)
    recipe = RECIPE.model_copy(update={"train": settings, "validation_short_side": arguments.short_side})
    train(
        MinvisTask(recipe, data, start_from=arguments.weights), settings, folder, device=torch.device("cpu"),
        resume=(folder / "checkpoint.pt").exists(),
        report=lambda line: print(f"  step {line.step}: {line.losses['total']:.2f}", flush=True),
    )  # fmt: skip
    return folder / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source(parser)
    parser.add_argument("--coco", type=Path, required=True, help="folder with instances.json and images/")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--score-threshold", type=float, default=MINVIS_SCORE_THRESHOLD, help="of what selection sees")
    parser.add_argument("--steps", type=int, help="instead of the scale's")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seen", type=int, default=40, help="held-out labelled pictures")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS)
    arguments = parser.parse_args()
    source = source_of(arguments)
    for folder in (arguments.cache, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    arguments.short_side = MinvisProposals(arguments.weights, "cpu").short_side
    scale = SCALES[arguments.scale]
    steps = arguments.steps or scale["steps"]

    chosen = source.names(arguments.clips)
    clips = [mining_clip(source, name, scale["frames"], scale["step"]) for name in chosen]
    answers = kept_by(
        clips, arguments.cache, arguments.weights, arguments.score_threshold, "data distillation" in arguments.arms
    )
    for title, kept in answers.items():
        tally = Tally()
        for clip in clips:
            for picture, truth in zip(clip.pictures, clip.truths, strict=True):
                tally.add(kept[picture], truth)
        print(tally.line(title), flush=True)

    late = [held_out_clip(source, name) for name in chosen]
    truths = {p: t for clip in late for p, t in zip(clip.pictures, clip.truths, strict=True)}
    unseen = dataset_of(truths, source_of(arguments).frames)
    labelled = read_coco(arguments.coco / "instances.json", arguments.coco / "images")
    kept_labels = [image for image in labelled.images if image.extra.get("all80", True)]
    ids = {image.id for image in kept_labels}
    labelled = replace(labelled, images=tuple(kept_labels),
                       annotations=tuple(a for a in labelled.annotations if a.image_id in ids))  # fmt: skip
    seen = held_out_of(labelled, arguments.seen)
    record = arguments.out / "figures.json"
    done = json.loads(record.read_text()) if record.exists() else {}
    for arm in arguments.arms:
        if arm not in done:
            print(f"{arm}: training", flush=True)
            way = arm.removesuffix(RETRAINED)
            weights = arguments.weights if arm == "before" else refined(arm, answers[way], arguments, labelled, steps)
            done[arm] = {"unseen": figures(weights, unseen), "seen": figures(weights, seen)}
            record.write_text(json.dumps(done, indent=1))
        print_row(arm, done[arm])
    mined = sum(len(clip.pictures) for clip in clips)
    print(f"\n{len(clips)} videos, {mined} frames mined, {steps} steps")
    print(f"measured on {len(unseen.images)} later frames and {len(seen.images)} labelled pictures")
    for arm in ARMS:
        if arm in done:
            print_row(arm, done[arm])
    for strategy in ("", RETRAINED):
        ours_row, bound = f"{ALL}{strategy}", f"selected with ground truth{strategy}"
        if {"before", ours_row, bound} <= set(done):
            for name in ("AP", "AP50"):
                before, ours, best = (done[arm]["unseen"][name] for arm in ("before", ours_row, bound))
                share = 100 * (ours - before) / (best - before) if best > before else float("nan")
                print(f"{ours_row}, {name}: {ours - before:+.1f}; {share:.0f} % of the gap to {bound!r} is closed")


def print_row(arm: str, row: dict[str, dict[str, float]]) -> None:
    paper = PAPER.get(arm)
    beside = (
        "" if paper is None else f"   paper AP {paper[0]} AP50 {paper[1]}" + (f" COCO {paper[2]}" if paper[2] else "")
    )
    unseen = "  ".join(f"{name} {row['unseen'][name]:5.1f}" for name in ("AP", "AP50", "AP75", "AR1", "AR3", "AR5"))
    sizes = "".join(f" {s} {row['seen'].get(f'AP_{s}', float('nan')):5.1f}" for s in ("small", "medium", "large"))
    seen = f"seen AP {row['seen']['AP']:5.1f} AP50 {row['seen']['AP50']:5.1f}{sizes}"
    print(f"{arm:<30} {unseen} | {seen}{beside}", flush=True)


if __name__ == "__main__":
    main()
