"""Bayesian mining on Unseen-VIS: mine the 595 videos, refine on what was mined, test on labelled stills of the 200.

Where ``train_all_frames`` is there, selection sees every frame and one in five trains, as in the paper; otherwise the
annotated frames alone. All figures are class-agnostic COCO figures.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewmask.datasets.coco import write_coco
from fewmask.datasets.coco_results import CocoResult
from fewmask.datasets.presence import video_names
from fewmask.datasets.split_files import write_split
from fewmask.datasets.video_coco import frames_as_pictures
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.media import rle
from fewmask.media.rle import Rle
from fewmask.metrics.coco import evaluate_coco
from fewmask.mining.maskrcnn import MaskRcnnProposals
from fewmask.mining.proposals import Proposer
from fewmask.pipelines.benchmarks.bench import Bench
from fewmask.pipelines.benchmarks.layout import check_frames
from fewmask.pipelines.benchmarks.paper import PICTURE_FIGURES, UNSEEN
from fewmask.pipelines.benchmarks.report import Table, mean_row
from fewmask.pipelines.mine import MinvisProposals, run_mine
from fewmask.pipelines.mine_request import MineRequest, RefineRequest
from fewmask.pipelines.refine import run_refine

BEFORE, MINED, TRUE = "before", "fine-tuned on mined masks", "fine-tuned on true masks"


def check_data(places: Mapping[str, Path]) -> None:
    """Whether every frame is there.

    Raises:
        DatasetError: names the first that is not; or the annotation file is malformed.
    """
    dataset = read_ytvis(places["train"])
    check_frames(places["train frames"], [name for video in dataset.videos for name in video.file_names])


def tables(bench: Bench) -> Iterator[Table]:
    """Before, after fine-tuning on what was mined, and after fine-tuning on the true masks (Tables 1 and 5)."""
    split = bench.request.split or _written_split(bench)
    train, test = read_ytvis(split / "train.json"), bench.limited(read_ytvis(split / "test.json"))
    train = bench.limited(train)
    root = bench.places["train frames"]
    weights = bench.request.weights or "small"
    mined = _mined(bench, train)
    refined = _refined(bench, "mined", mined)
    truth = bench.stages.run("true-masks", {}, lambda folder: _write_truth(folder, train, root)).folder
    best = _refined(bench, "true-masks-refined", replace(mined, out=truth))
    rows = [
        mean_row(name, [_figures(bench, name, network, test, root)], UNSEEN[name])
        for name, network in ((BEFORE, weights), (MINED, refined), (TRUE, best))
    ]
    note = f"Mined {len(train.videos)} videos, tested on the labelled frames of {len(test.videos)}."
    yield Table("Unseen-VIS", tuple(rows), note)


def _written_split(bench: Bench) -> Path:
    def work(folder: Path) -> Mapping[str, Any]:
        return write_split("unseen-vis", bench.places["train"], folder / "files")

    return bench.stages.run("split", {}, work).folder / "files"


def _mined(bench: Bench, train: YtvisDataset) -> MineRequest:
    every = bench.places.get("all frames")
    names = video_names(train)
    folders = [str((every or bench.places["train frames"]) / names[video.id]) for video in train.videos]
    request = MineRequest(
        folders, Path(), bench.request.proposals, bench.request.weights, settings={"keep_every": 5 if every else 1},
        workers=1, device=bench.request.device, resume=True, command=bench.request.command,
    )  # fmt: skip

    def work(folder: Path) -> Mapping[str, Any]:
        summary = run_mine(
            replace(request, out=folder / "dataset"),
            lambda _, done, total: bench.progress("videos mined", done, total),
        )
        return {"tracks": summary.tracks_to_review}

    given = {"videos": folders, "proposals": bench.request.proposals, "weights": bench.request.weights}
    return replace(request, out=bench.stages.run("mined", given, work, resumes=True).folder / "dataset")


def _refined(bench: Bench, name: str, mined: MineRequest) -> str:
    """Weights after fine-tuning on the dataset in ``mined.out``."""

    def work(_: Path) -> Mapping[str, Any]:
        request = RefineRequest(recipe=bench.request.recipe, steps=bench.request.steps)
        (done,) = run_refine(mined, request, lambda _, line: bench.progress(f"{name}, steps", line.step, line.steps))
        return {"weights": str(done.weights), "masks": done.masks}

    weights: str = bench.stages.run(f"{name}/training", {"dataset": str(mined.out)}, work).outcome["weights"]
    return weights


def _write_truth(folder: Path, train: YtvisDataset, root: Path) -> Mapping[str, Any]:
    """The training part as a dataset of pictures, laid out like a mined one."""
    pictures = frames_as_pictures(train, root)
    (folder / "images").symlink_to(root.resolve(), target_is_directory=True)
    write_coco(replace(pictures, images_root=folder / "images"), folder / "instances.json")
    return {"masks": len(pictures.annotations)}


def _figures(bench: Bench, name: str, weights: str, test: YtvisDataset, root: Path) -> Mapping[str, float | None]:
    pictures = frames_as_pictures(test, root)

    def work(folder: Path) -> Mapping[str, Any]:
        proposer = _proposer(bench, weights)

        def found(image: Any) -> list[tuple[float, Rle]]:
            masks, scores = proposer.propose(pictures.read(image))
            codes = rle.encode_many(masks) if len(masks) else []
            return list(zip(scores.tolist(), codes, strict=True))

        every = bench.one_by_one(folder / "pictures", f"{name}, pictures", pictures.images, found)
        results = [
            CocoResult(image_id=image.id, category_id=1, mask=mask, score=score)
            for image, masks in zip(pictures.images, every, strict=True)
            for score, mask in masks
        ]
        stats = evaluate_coco(pictures, results)
        return {figure: stats[figure] for figure in PICTURE_FIGURES}

    given = {"weights": weights, "pictures": [image.file_name for image in pictures.images]}
    return bench.stages.run(f"figures/{name}", given, work, resumes=True).outcome


def _proposer(bench: Bench, weights: str) -> Proposer:
    if bench.request.proposals == "maskrcnn":
        return MaskRcnnProposals(Path(weights), device=str(bench.device))
    return MinvisProposals(weights, str(bench.device))
