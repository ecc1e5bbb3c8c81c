"""The sparse-label table and the post-processing table of MinVIS (appendix; FACTS of the paper beside ours).

    python reproduce/minvis_tables.py --scale small --coco instances.json --images images --out work
    python reproduce/minvis_tables.py --scale paper --recipe recipes/minvis/ovis/swin_l.toml --start-from coco_swin_l \
        --data train.json --images train/JPEGImages --test valid.json --test-images valid/JPEGImages --out work

*Sparse labels*: one training for each share of labelled frames and seed, query matching. *Post-processing*: the
trainings on all frames, linked by heuristics, by both, and by query embeddings; *clip* beside them is Mask2Former-VIS*,
the same weights with queries that look at windows of ``--window`` frames (no training on clips; `clip_mask2former.py`).
*Matching* (``--tables matching``): trainings with the paper's supervised matching over 20 frames and over neighbours
only ("limited range"), and without, all linked by queries.

Small: videos are synthesised from a COCO dataset. Images whose id is divisible by 5 make the test videos, one set with
little and one with heavy occlusion, the others make the training videos (heavy). Training goes on from ``--start-from``
(the bundled weights, which never saw the test images), as the paper goes on from COCO weights. One class, "object".

Paper: the real data. Masks of the official validation sets are not published: give a split of your own with
``--test``, or send the ``results.json`` files to the server. Whatever is done already in ``--out`` is not done again.
"""

import argparse
import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fewmask.datasets.synth import synthesise
from fewmask.datasets.synth_config import SynthConfig
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import YtvisDataset, YtvisResult, result_from_masks
from fewmask.datasets.ytvis_write import write_ytvis_results
from fewmask.metrics.identities import evaluate_identities
from fewmask.metrics.ytvis import evaluate_ytvis
from fewmask.minvis.clip_mask2former import ClipMask2Former
from fewmask.minvis.heuristics import InTrackOrder, Matching
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.pretrained import load
from fewmask.minvis.segmenter import QuerySegmenter
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import ytvis_data
from fewmask.pipelines.benchmarks.minvis_tracks import Recorded
from fewmask.training.loop import StepReport, train

RECIPES = Path(__file__).parents[1] / "recipes" / "minvis"
RATIOS = (0.01, 0.05, 0.10, 1.0)
MATCHINGS: tuple[Matching, ...] = ("heuristics", "both", "query")
FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10", "switches")
PAPER_SPARSE = {"YTVIS-19": (59.0, 59.3, 61.0, 61.6), "YTVIS-21": (52.9, 54.3, 54.9, 55.3),
                "OVIS": (31.7, 35.7, 37.2, 39.4)}  # fmt: skip
PAPER_MATCHING = {"YTVIS-19": (61.6, 61.0, 60.7), "YTVIS-21": (55.3, 54.4, 55.2), "OVIS": (39.4, 38.7, 39.6)}
RANGES = {"none": None, "supervised": 20, "limited range": 1}
PAPER_LINKING = {"YTVIS-19": (58.2, 61.3, 61.6), "YTVIS-21": (52.7, 55.1, 55.3), "OVIS": (31.7, 39.1, 39.4)}
Figures = dict[str, dict[str, float]]
SURE = 0.1  # identity switches are counted among tracks of at least this score


@dataclass(frozen=True)
class VideoSet:
    """Annotations and frames of a set of videos."""

    data: Path
    images: Path


def small_sets(coco: Path, images: Path, out: Path, videos: int, test_videos: int) -> tuple[VideoSet, list[VideoSet]]:
    """Synthesised videos: for training with heavy occlusion, for testing with light and with heavy."""
    document = json.loads(coco.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    for part, wanted in (("train", False), ("test", True)):
        kept = [image for image in document["images"] if (image["id"] % 5 == 0) is wanted]
        ids = {image["id"] for image in kept}
        annotations = [a for a in document["annotations"] if a["image_id"] in ids]
        (out / f"{part}.json").write_text(json.dumps(document | {"images": kept, "annotations": annotations}))

    def made(name: str, part: str, count: int, config: SynthConfig, seed: int) -> VideoSet:
        folder = out / name
        path = synthesise(
            out / f"{part}.json", images, folder, videos=count, seed=seed, config=config, class_agnostic=True,
            resume=(folder / "manifest.json").exists(),
        )  # fmt: skip
        return VideoSet(path, folder / "JPEGImages")

    size = {"height": 128, "width": 224}
    trained = made("train", "train", videos, SynthConfig(frames=40, occlusion="heavy", **size), 0)
    short = size | {"frames": 12}
    light = made("light", "test", test_videos, SynthConfig(occlusion="light", **short), 1)
    heavy = made("heavy", "test", test_videos, SynthConfig(occlusion="heavy", **short), 1)
    return trained, [light, heavy]


def trained_weights(
    arguments: argparse.Namespace, recipe: MinvisRecipe, source: VideoSet, ratio: float, seed: int,
    matching_range: int | None = None,
) -> Path:  # fmt: skip
    """The weights folder of one training, made now unless it is there."""
    out: Path = arguments.out / trained_name(ratio, seed, matching_range)
    if not (out / "figures.json").exists():
        changes = {
            "frames": ratio,
            "matching_range": matching_range,
            "train": recipe.train.model_copy(update={"seed": seed}),
        }
        recipe = MinvisRecipe.model_validate(recipe.model_dump() | changes)
        data = ytvis_data(read_ytvis(source.data), source.images, class_agnostic=recipe.class_agnostic, ratio=ratio)
        task = MinvisTask(recipe, data, start_from=arguments.start_from)
        out.mkdir(parents=True, exist_ok=True)
        resume = (out / "checkpoint.pt").exists()
        train(task, recipe.train, out, device=torch.device(arguments.device), resume=resume, report=say)
    return out / "weights"


def trained_name(ratio: float, seed: int, matching_range: int | None = None) -> str:
    """Of the folder of a training."""
    return f"ratio_{ratio:g}" + ("" if matching_range is None else f"_range_{matching_range}") + f"_seed_{seed}"


def say(line: StepReport) -> None:
    print(f"    step {line.step}/{line.steps}, loss {line.losses['total']:.2f}", flush=True)


def figures_of(weights: str | Path, test: VideoSet, out: Path, device: str, *, agnostic: bool, window: int) -> Figures:
    """Figures in per cent and identity switches per 100 object frames, by matching; kept in ``out`` with the tracks."""
    done = out / "figures.json"
    if not done.exists():
        dataset = read_ytvis(test.data)
        out.mkdir(parents=True, exist_ok=True)
        found: Figures = {}
        segmenter = load(weights, device=device)
        for matching, results in tracks(segmenter, dataset, test.images, agnostic=agnostic, window=window).items():
            write_ytvis_results(out / f"results_{matching}.json", tuple(results))
            stats = evaluate_ytvis(dataset, results, class_agnostic=agnostic).stats
            counts = evaluate_identities(dataset, results, min_score=SURE, class_agnostic=agnostic)
            found[matching] = {name: 100 * (stats[name] or 0.0) for name in FIGURES[:-1]}
            found[matching]["switches"] = 100 * counts.switches / max(counts.held, 1)
        done.write_text(json.dumps(found))
    figures: Figures = json.loads(done.read_text())
    return figures


def tracks(
    segmenter: QuerySegmenter, dataset: YtvisDataset, images: Path, *, agnostic: bool, window: int
) -> dict[str, list[YtvisResult]]:
    """The ten best tracks of every video, by matching."""
    recorded = Recorded(segmenter)
    ids = sorted(category.id for category in dataset.categories)
    clips = isinstance(segmenter, Mask2FormerSegmenter)  # other networks have no decoder that looks at several frames
    ways = (*MATCHINGS, "clip") if clips else MATCHINGS
    results: dict[str, list[YtvisResult]] = {matching: [] for matching in ways}
    for video in dataset.videos:
        for matching in ways:
            if matching == "clip":
                model, settings = MinVIS(ClipMask2Former(segmenter, window=window)), StreamSettings(batch=window)
            else:
                linked = recorded if matching == "query" else InTrackOrder(recorded, matching)
                model, settings = MinVIS(linked), StreamSettings()
            for track in model.segment([images / name for name in video.file_names], settings).tracks:
                category = ids[0] if agnostic else ids[track.category_id - 1]
                found = result_from_masks(
                    video_id=video.id, category_id=category, score=track.score, segmentations=list(track.masks)
                )
                results[matching].append(found)
        recorded.forget()
    return results


def table(
    title: str, rows: Sequence[str], tests: Sequence[str], figures: Callable[[str, str], list[dict[str, float]]]
) -> Iterator[str]:
    """Mean and spread over seeds, a block for each test set."""
    for test in tests:
        yield f"\n{title}, {test} videos: mean (standard deviation) over seeds"
        yield f"{'':<14}" + "".join(f"{name:>15}" for name in FIGURES)
        for row in rows:
            found = figures(row, test)
            cells = []
            for name in FIGURES:
                values = [one[name] for one in found]
                cells.append(f"{np.mean(values):8.1f} ({np.std(values):4.1f})")
            yield f"{row:<14}" + "".join(cells)


def gains(figures: Callable[[str, str], list[dict[str, float]]], tests: Sequence[str]) -> Iterator[str]:
    """How far query matching is ahead of heuristics, seed by seed."""
    for test in tests:
        pairs = zip(figures("query", test), figures("heuristics", test), strict=True)
        ahead = [query["AP"] - heuristics["AP"] for query, heuristics in pairs]
        yield f"query - heuristics, {test}: {np.mean(ahead):+.1f} AP ({np.std(ahead):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument(
        "--tables", nargs="+", choices=("postprocessing", "sparse", "matching"), default=["postprocessing", "sparse"]
    )
    parser.add_argument("--window", type=int, default=30, help="frames that the clip baseline looks at together")
    parser.add_argument("--out", type=Path, required=True, help="everything made lies here and is not made twice")
    parser.add_argument("--coco", type=Path, help="small: COCO instances file")
    parser.add_argument("--images", type=Path, required=True, help="frames of --data, or pictures of --coco")
    parser.add_argument("--data", type=Path, help="paper: YouTube-VIS or OVIS training annotations")
    parser.add_argument("--test", type=Path, help="paper: annotations to test on")
    parser.add_argument("--test-images", type=Path, help="paper: frames of --test")
    parser.add_argument("--recipe", type=Path, default=RECIPES / "synthetic" / "small.toml")
    parser.add_argument("--start-from", default="mask2former", help="weights folder that training starts from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ratios", type=float, nargs="+", default=list(RATIOS))
    parser.add_argument("--videos", type=int, default=100, help="small: videos to train on")
    parser.add_argument("--test-videos", type=int, default=24, help="small: videos to test on, of each kind")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    recipe = MinvisRecipe.model_validate(tomllib.loads(arguments.recipe.read_text(encoding="utf-8")))
    if arguments.scale == "small":
        source, found = small_sets(
            arguments.coco, arguments.images, arguments.out, arguments.videos, arguments.test_videos
        )
        tests = dict(zip(("light", "heavy"), found, strict=True))
    else:
        source, tests = (
            VideoSet(arguments.data, arguments.images),
            {"test": VideoSet(arguments.test, arguments.test_images)},
        )

    def figures(weights: str | Path, name: str, test: str, matching: str) -> dict[str, float]:
        found = figures_of(
            weights, tests[test], arguments.out / f"{name}_{test}", arguments.device, agnostic=recipe.class_agnostic,
            window=arguments.window,
        )[matching]  # fmt: skip
        print(f"{name} {test} {matching}: " + " ".join(f"{k} {v:.1f}" for k, v in found.items()), flush=True)
        return found

    def of_seeds(ratio: float, test: str, matching: str, matching_range: int | None = None) -> list[dict[str, float]]:
        found = []
        for seed in arguments.seeds:
            weights = trained_weights(arguments, recipe, source, ratio, seed, matching_range)
            found.append(figures(weights, trained_name(ratio, seed, matching_range), test, matching))
        return found

    lines: list[str] = []
    if "postprocessing" in arguments.tables:

        def linked(row: str, test: str) -> list[dict[str, float]]:
            return of_seeds(1.0, test, row)

        clips = isinstance(
            load(trained_weights(arguments, recipe, source, 1.0, arguments.seeds[0])), Mask2FormerSegmenter
        )
        lines += table("Post-processing", (*MATCHINGS, "clip") if clips else MATCHINGS, list(tests), linked)
        lines += gains(linked, list(tests))
        lines += [f"paper, {name}: " + ", ".join(f"{m} {v}" for m, v in zip(MATCHINGS, row, strict=True))
                  for name, row in PAPER_LINKING.items()]  # fmt: skip
    if "matching" in arguments.tables:

        def supervised(row: str, test: str) -> list[dict[str, float]]:
            return of_seeds(1.0, test, "query", RANGES[row])

        lines += table("Supervised matching", list(RANGES), list(tests), supervised)
        lines += [f"paper, {name}: " + ", ".join(f"{m} {v}" for m, v in zip(RANGES, row, strict=True))
                  for name, row in PAPER_MATCHING.items()]  # fmt: skip
    if "sparse" in arguments.tables:

        def sparse(row: str, test: str) -> list[dict[str, float]]:
            if row == "before":
                return [figures(arguments.start_from, "before", test, "query")]
            return of_seeds(float(row.rstrip(" %")) / 100, test, "query")

        rows = [f"{100 * ratio:g} %" for ratio in arguments.ratios]
        before = ["before"] if arguments.scale == "small" else []
        lines += table("Share of labelled frames", before + rows, list(tests), sparse)
        lines += [f"paper, {name}: " + ", ".join(f"{100 * r:g} % {v}" for r, v in zip(RATIOS, row, strict=True))
                  for name, row in PAPER_SPARSE.items()]  # fmt: skip
    print("\n".join(lines))


if __name__ == "__main__":
    main()
