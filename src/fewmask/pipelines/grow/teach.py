"""The stages *teach* and *background*: the segmenter and the background network go on with what was kept.

What the segmenter knew before is not forgotten: its own sure objects are in the pictures too, as objects of whatever
class, its old names keep their weights, and a labelled file, where there is one, is mixed in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fewmask.datasets.coco import CocoDataset, CocoImage, read_coco
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.background_train import BackgroundRecipe, BackgroundTask
from fewmask.minvis.dense.recipe import DenseRecipe
from fewmask.minvis.dense.train import DenseTask
from fewmask.minvis.dense.weights import is_dense
from fewmask.minvis.pretrained import folder_of, load
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import FrameLabels, TrainingData
from fewmask.models.device import resolve_device
from fewmask.pipelines.grow.kept_dataset import OBJECT
from fewmask.pipelines.grow.request import GrowRequest
from fewmask.training.loop import train

HOLD_OUT = 5
"""Pictures of the labelled file whose id it divides are held out."""
LABELLED_SHARE = 1.0
"""At most so many labelled pictures per kept one: enough to remember by, not so many that nothing new is learned."""
_TRAIN = {"batch_size": 4, "schedule": "cosine", "warmup": 20, "warmup_factor": 0.01, "precision": "bf16", "ema": 0.99,
          "log_every": 10, "checkpoint_every": 50, "validate_every": 0}  # fmt: skip
DENSE: dict[str, Any] = {
    "kind": "dense",
    "sizes": [[256, 448], [320, 352], [256, 320]],
    "augmentation": {"scale": [0.7, 1.6], "paste": 0.3},
    "backbone_rate": 0.1,
    "train": {**_TRAIN, "learning_rate": 2e-4},
}
MASK2FORMER: dict[str, Any] = {
    "sizes": [[224, 320], [256, 288], [192, 352]],
    "points": 3136,
    "backbone_rate": 0.1,
    "augmentation": {"scale": [0.8, 1.6], "paste": 0.0},
    "train": {**_TRAIN, "learning_rate": 2e-5},
}
BACKGROUND: dict[str, Any] = {
    "learning_rate": 5e-5,
    "batch_size": 8,
    **{k: v for k, v in _TRAIN.items() if k != "batch_size"},
}


def teach_segmenter(
    folder: Path, dataset: Path, weights: str, request: GrowRequest, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Train the segmenter on what was kept; ``folder`` gets checkpoint, log and ``weights/``.

    Args:
        folder: of the stage.
        dataset: of the stage keep.
        weights: to go on from.
        request: steps, labelled file, seed and device.
        progress: told the steps done.
    """
    kept = read_coco(dataset / "instances.json", dataset / "images")
    kept = _only(kept, lambda image: not image.extra.get("held_out"))
    known = None if request.labelled is None else read_coco(request.labelled, request.images)
    task = _task(kept, known, weights, request)
    before = task.validate()
    after = train(
        task, task.recipe.train, folder, device=torch.device(resolve_device(request.device)),
        resume=(folder / "checkpoint.pt").exists(), report=lambda line: progress(line.step),
    )  # fmt: skip
    return {"pictures": len(kept.images), "before": before, "after": after}


def teach_background(folder: Path, dataset: Path, weights: Path | None, request: GrowRequest) -> dict[str, Any]:
    """Train the background network on what was kept: kinds and other sure objects are foreground."""
    kept = read_coco(dataset / "instances.json", dataset / "images")
    held_out = _only(kept, lambda image: bool(image.extra.get("held_out")))
    network = BackgroundNet.from_pretrained(weights, "cpu")
    recipe = BackgroundRecipe.model_validate(
        {
            "network": network.config.model_dump(),
            "backbone_rate": 0.1,
            "settings": {**BACKGROUND, "steps": request.steps, "seed": request.seed},
        }
    )
    task = BackgroundTask(network.train(), recipe, _only(kept, lambda image: not image.extra.get("held_out")), held_out)
    after = train(
        task, recipe.settings, folder, device=torch.device(resolve_device(request.device)),
        resume=(folder / "checkpoint.pt").exists(),
    )  # fmt: skip
    return {"after": after}


def _task(kept: CocoDataset, known: CocoDataset | None, weights: str, request: GrowRequest) -> DenseTask | MinvisTask:
    place = folder_of(weights)
    kinds = [name for key, name in sorted(kept.categories.items()) if key != OBJECT]
    segmenter = load(weights)
    short_side = segmenter.short_side or 256
    if is_dense(place):
        before = [name for _, name in sorted(segmenter.categories.items())][:-1]  # the last is "object"
        names = (*before, *(name for name in kinds if name not in before))
        recipe = DenseRecipe.model_validate(
            {**DENSE, "validation_short_side": short_side, "train": _steps(DENSE, request)}
        )
        data = _mixed(kept, known, {name: label for label, name in enumerate(names)}, names, -1)
        return DenseTask(recipe, data, start_from=weights)
    names = ("object", *kinds)
    plain = MinvisRecipe.model_validate(
        {**MASK2FORMER, "class_agnostic": False, "validation_short_side": short_side,
         "train": _steps(MASK2FORMER, request)}
    )  # fmt: skip
    data = _mixed(kept, known, {name: label for label, name in enumerate(names)}, names, 0)
    return MinvisTask(plain, data, start_from=weights)


def _mixed(
    kept: CocoDataset, known: CocoDataset | None, labels: Mapping[str, int], names: Sequence[str], other: int
) -> TrainingData:
    """Kept pictures, and labelled ones spread evenly, at most as many."""
    videos = [(_frame(kept, image, labels, other),) for image in kept.images]
    validate = None
    if known is not None:
        usable = [image for image in known.images if image.id % HOLD_OUT]
        most = max(1, round(LABELLED_SHARE * len(videos)))
        every = max(1, -(-len(usable) // most))
        videos += [(_frame(known, image, labels, other),) for image in usable[::every]]
        held_out = [image for image in known.images if image.id % HOLD_OUT == 0]
        if held_out:
            from fewmask.minvis.coco_figures import coco_figures

            def validate(segmenter: Any) -> dict[str, float]:
                return coco_figures(segmenter, known, held_out)

    return TrainingData(tuple(videos), tuple(names), validate)


def _frame(dataset: CocoDataset, image: CocoImage, labels: Mapping[str, int], other: int) -> FrameLabels:
    annotations = dataset.annotations_of[image.id]
    sure = [annotation for annotation in annotations if not annotation.iscrowd]
    return FrameLabels(
        dataset.path_of(image),
        (image.height, image.width),
        tuple(annotation.mask for annotation in sure),
        tuple(labels.get(dataset.categories[annotation.category_id], other) for annotation in sure),
        unknown=tuple(annotation.mask for annotation in annotations if annotation.iscrowd),
    )


def _steps(shape: dict[str, Any], request: GrowRequest) -> dict[str, Any]:
    """The training settings of a shape, with the request's steps and seed."""
    return {**shape["train"], "steps": request.steps, "seed": request.seed}


def _only(dataset: CocoDataset, wanted: Callable[[CocoImage], bool]) -> CocoDataset:
    images = tuple(image for image in dataset.images if wanted(image))
    ids = {image.id for image in images}
    return replace(dataset, images=images, annotations=tuple(a for a in dataset.annotations if a.image_id in ids))
