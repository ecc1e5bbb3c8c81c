"""What each model that can be trained is trained on, and with which task; `train_run.py` does the rest."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from fewmask.corrections.training_data import annotations_of
from fewmask.datasets.coco import CocoDataset, read_coco
from fewmask.datasets.coco_pictures import annotation_file
from fewmask.datasets.json_file import load_object
from fewmask.datasets.picture_files import picture_files
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import CheckpointError, ConfigError, DatasetError
from fewmask.minvis.dense.recipe import DenseRecipe
from fewmask.minvis.dense.train import DenseTask
from fewmask.minvis.pretrained import folder_of
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import TrainingData, coco_data, joined, ytvis_data
from fewmask.models.tensors_file import load_tensors
from fewmask.models.weights_input import weights_input
from fewmask.pipelines.recipes import read_recipe, read_toml
from fewmask.pipelines.train_request import TrainRequest
from fewmask.pipelines.train_run import run_training
from fewmask.training.loop import TrainTask


def train_minvis(
    request: TrainRequest,
    data: Path,
    *,
    images: Path | None = None,
    initial: Path | None = None,
    start_from: str | Path | None = None,
    frames: float | None = None,
    more: Sequence[tuple[Path, Path | None]] = (),
) -> dict[str, float]:  # fmt: skip
    """Train a MinVIS segmenter on COCO pictures or YouTube-VIS videos; returns the figures on held-out data.

    The recipe's ``kind`` decides which: "dense" for the one-stage network, none for Mask2Former.

    Args:
        images: folder of the pictures.
        initial: MobileSAM safetensors for the backbone tiny_vit_5m.
        start_from: ``small``, a weights folder of an earlier training, a folder that transformers or
            `fewmask convert minvis` wrote, or a hub name; a class head of another number of classes starts anew.
        frames: share of each video's frames, instead of the recipe's.
        more: further annotations and the folders of their pictures, such as a teacher's labels: the recipe's
            ``require`` and ``hold_out`` are for ``data`` alone.

    Raises:
        FewmaskError: a recipe, dataset, checkpoint or folder that cannot be used.
    """
    dense = read_toml(request.recipe).get("kind") == "dense"
    recipe: MinvisRecipe | DenseRecipe = (
        read_recipe(request.recipe, DenseRecipe) if dense else read_recipe(request.recipe, MinvisRecipe)
    )
    if frames is not None:
        recipe = _with_frames(recipe, frames)
    data = annotations_of(data)
    more = tuple((annotations_of(path), pictures) for path, pictures in more)

    def task() -> TrainTask:
        mobile_sam = None if initial is None else _initial_weights(initial)
        whole = recipe.model_copy(update={"require": None, "hold_out": 0})
        parts = [_minvis_data(recipe, data, images), *(_minvis_data(whole, *part) for part in more)]
        if isinstance(recipe, DenseRecipe):
            return DenseTask(recipe, joined(parts, recipe.repeat), mobile_sam, start_from=start_from)
        return MinvisTask(recipe, joined(parts), mobile_sam, start_from=start_from)

    inputs = {
        **_labelled(data, images),
        **{f"more_{number}": path for number, (path, _) in enumerate(more, start=1)},
        "initial": initial,
        "start_from": None if start_from is None else weights_input(folder_of(start_from)),
    }
    return run_training(request, "minvis", recipe, recipe.train, task, inputs)


def train_vipmt(
    request: TrainRequest,
    data: Path,
    backbone: Path,
    *,
    images: Path | None = None,
    novel: Sequence[str] = (),
    also: Sequence[Path] = (),
    start_from: str | Path | None = None,
    iou_data: Path | None = None,
) -> dict[str, float]:
    """Train a VIPMT network on COCO pictures or YouTube-VIS videos; its figures are those of held-out base classes.

    Args:
        backbone: ImageNet checkpoint of the frozen backbone.
        novel: names of classes that training must not see.
        also: further files to train on; classes are matched by name.
        start_from: ``small`` or a folder of weights to go on from, their backbone in place of ``backbone``.
        iou_data: pictures (or videos) whose noisy true masks teach IoUNet, in place of those of ``data``.

    Raises:
        FewmaskError: a recipe, dataset, checkpoint or folder that cannot be used.
    """
    from fewmask.vipmt.recipe import VIPMTRecipe
    from fewmask.vipmt.train import make_task

    recipe = read_recipe(request.recipe, VIPMTRecipe)
    inputs: dict[str, Any] = {**_labelled(data, images), "backbone": backbone}
    if novel:
        inputs["novel"] = ",".join(sorted(novel))
    inputs |= {f"also {place}": path for place, path in enumerate(also, start=1)}
    if start_from is not None:
        inputs["start_from"] = start_from
    if iou_data is not None:
        inputs["iou_data"] = iou_data
    make = partial(make_task, root=images, novel=novel, also=also, start_from=start_from, iou_data=iou_data)
    return run_training(request, "vipmt", recipe, recipe.train, lambda: make(recipe, data, backbone), inputs)


def train_selfshot(
    request: TrainRequest,
    data: Path,
    *,
    images: Path | None = None,
    initial: Path | None = None,
    held_out: Path | None = None,
) -> dict[str, float]:
    """Train the transformer of Self-Shot on YouTube-VIS videos; returns its video AP50 on held-out ones.

    Args:
        images: folder of the frames; by default JPEGImages beside ``data``.
        initial: ImageNet checkpoint for its backbone, with torchvision's key names.
        held_out: annotations of other videos, their frames in JPEGImages beside them.

    Raises:
        FewmaskError: a recipe, dataset, checkpoint or folder that cannot be used.
    """
    from fewmask.selfshot.train import TransformerRecipe, TransformerTask

    recipe = read_recipe(request.recipe, TransformerRecipe)
    kept_back = None if held_out is None else (read_ytvis(held_out), held_out.parent / "JPEGImages")
    return run_training(
        request, "selfshot", recipe, recipe.train,
        lambda: TransformerTask(recipe, read_ytvis(data), images or data.parent / "JPEGImages", initial, kept_back),
        {**_labelled(data, images), "initial": initial,
         **({} if held_out is None else _labelled(held_out, None, "held_out"))},
    )  # fmt: skip


def train_clip_encoder(
    request: TrainRequest, videos: Sequence[Path], *, initial: Path | None = None
) -> dict[str, float]:
    """Train the clip encoder of Self-Shot on unlabelled videos.

    Args:
        videos: files, or folders of them.
        initial: checkpoint for its backbone.

    Raises:
        FewmaskError: a recipe, video, checkpoint or folder that cannot be used.
    """
    from fewmask.media.find_videos import find_videos
    from fewmask.retrieval.train import ClipEncoderRecipe, ClipEncoderTask

    recipe = read_recipe(request.recipe, ClipEncoderRecipe)
    found = find_videos(videos)
    return run_training(
        request, "clip-encoder", recipe, recipe.train,
        lambda: ClipEncoderTask(recipe, found, request.out / "frames", initial),
        {"videos": found, "initial": initial},
    )  # fmt: skip


def train_background(
    request: TrainRequest,
    data: Path,
    *,
    images: Path | None = None,
    hold_out: int = 0,
    imagenet: bool = True,
    initial: Path | None = None,
    require: str | None = None,
) -> dict[str, float]:
    """Train the foreground/background network of mining on COCO pictures.

    Args:
        hold_out: images whose id it divides are for validation; 0 = none.
        imagenet: start from timm's ImageNet weights, from its cache or downloaded; not used with ``initial``.
        initial: an earlier background network, or a checkpoint of its backbone (`mining.background_initial`).
        require: use only images with this field true in the file, such as those annotated for everything.

    Raises:
        FewmaskError: a recipe, dataset or folder that cannot be used, or weights that cannot be had.
    """
    from fewmask.mining.background_initial import load_initial
    from fewmask.mining.background_net import BackgroundNet
    from fewmask.mining.background_train import BackgroundRecipe, BackgroundTask

    recipe = read_recipe(request.recipe, BackgroundRecipe)

    def task() -> TrainTask:
        kept, held_out = _split(_with_field(read_coco(data, images), require), hold_out)
        torch.manual_seed(recipe.settings.seed)
        try:
            network = BackgroundNet(recipe.network, imagenet=imagenet and initial is None)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{recipe.network.backbone}: no ImageNet weights ({error}); give --initial FILE or --no-imagenet"
            ) from error
        if initial is not None:
            load_initial(network, initial)
        return BackgroundTask(network, recipe, kept, held_out)

    inputs = {
        **_labelled(data, images),
        "imagenet": imagenet and initial is None,
        "hold_out": hold_out,
        "initial": initial,
        "require": require,
    }
    return run_training(request, "background", recipe, recipe.settings, task, inputs)


def train_maskrcnn(
    request: TrainRequest,
    data: Path,
    *,
    images: Path | None = None,
    hold_out: int = 0,
    initial: Path | None = None,
    require: str | None = None,
) -> dict[str, float]:
    """Train the paper's proposal network of mining, a class-agnostic Mask R-CNN, on COCO pictures.

    Args:
        hold_out: images whose id it divides are for validation; 0 = none.
        initial: torchvision's weights of ``maskrcnn_resnet50_fpn`` or of ``resnet50``, or an earlier one of these;
            None = from nothing.
        require: use only images with this field true in the file.

    Raises:
        FewmaskError: a recipe, dataset, checkpoint or folder that cannot be used.
    """
    from fewmask.mining.maskrcnn import class_agnostic_maskrcnn
    from fewmask.mining.maskrcnn_initial import load_initial
    from fewmask.mining.maskrcnn_train import MaskRcnnRecipe, MaskRcnnTask

    recipe = read_recipe(request.recipe, MaskRcnnRecipe)

    def task() -> TrainTask:
        kept, held_out = _split(_with_field(read_coco(data, images), require), hold_out)
        torch.manual_seed(recipe.train.seed)
        network = class_agnostic_maskrcnn(short_side=recipe.short_side)
        if initial is not None:
            load_initial(network, initial)
        return MaskRcnnTask(recipe, network, [kept], held_out, frozen_norms=initial is not None)

    inputs = {**_labelled(data, images), "hold_out": hold_out, "initial": initial, "require": require}
    return run_training(request, "maskrcnn", recipe, recipe.train, task, inputs)


def _labelled(data: Path, images: Path | None, name: str = "data") -> dict[str, Any]:
    """An annotation file and its pictures, as inputs of a run."""
    return {name: data, f"{name} pictures": picture_files(data, images)}


def _with_frames(recipe: MinvisRecipe | DenseRecipe, frames: float) -> MinvisRecipe | DenseRecipe:
    try:
        return type(recipe).model_validate(recipe.model_dump() | {"frames": frames})
    except ValidationError as error:
        raise ConfigError(f"frames {frames:g}: {error.errors()[0]['msg']}") from error


def _minvis_data(recipe: MinvisRecipe | DenseRecipe, path: Path, images: Path | None) -> TrainingData:
    """Pictures or videos, whichever the file holds."""
    path = annotation_file(path)
    if "videos" in load_object(path):
        dataset = read_ytvis(path)
        root = images or path.parent / "JPEGImages"
        return ytvis_data(
            dataset, root, class_agnostic=recipe.class_agnostic, ratio=recipe.frames, hold_out=recipe.hold_out
        )
    if recipe.frames != 1.0:
        raise ConfigError(f"{path}: holds pictures; a share of frames can be taken from YouTube-VIS videos only")
    return coco_data(
        read_coco(path, images), class_agnostic=recipe.class_agnostic, hold_out=recipe.hold_out, require=recipe.require
    )


def _with_field(dataset: CocoDataset, field: str | None) -> CocoDataset:
    """The images with this field true in the file; all where none is asked for."""
    if field is None:
        return dataset
    images = tuple(image for image in dataset.images if image.extra.get(field))
    if not images:
        raise DatasetError(f"{dataset.path}: no image has the field {field!r} set; leave --require out or correct it")
    ids = {image.id for image in images}
    return replace(dataset, images=images, annotations=tuple(a for a in dataset.annotations if a.image_id in ids))


def _split(dataset: CocoDataset, hold_out: int) -> tuple[CocoDataset, CocoDataset | None]:
    """Images for training and those for validation."""
    if not hold_out:
        return dataset, None
    parts = []
    for wanted in (False, True):
        images = tuple(image for image in dataset.images if (image.id % hold_out == 0) is wanted)
        ids = {image.id for image in images}
        annotations = tuple(annotation for annotation in dataset.annotations if annotation.image_id in ids)
        parts.append(replace(dataset, images=images, annotations=annotations))
    return parts[0], parts[1]


def _initial_weights(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(path)[0]
