"""Mined masks back into the network that proposed them: fine-tuning or retraining, in rounds (Sec. 3.1, Table 5).

In ``<dataset>/refined/`` every round has a folder ``round-N/`` with the training's checkpoint, log and ``weights/``;
from the second round on also ``dataset/``, mined anew with the weights of the round before.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from fewmask.datasets.coco import CocoDataset, CocoImage, read_coco
from fewmask.datasets.picture_files import picture_files
from fewmask.errors import ConfigError, DatasetError
from fewmask.media.atomic import write_json
from fewmask.media.own_files import read_json
from fewmask.media.run_directory import RunDirectory
from fewmask.mining.maskrcnn_train import MaskRcnnRecipe, MaskRcnnTask
from fewmask.minvis import pretrained
from fewmask.minvis.dense.recipe import DenseRecipe
from fewmask.minvis.dense.train import DenseTask
from fewmask.minvis.dense.weights import is_dense
from fewmask.minvis.pretrained import load
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import TrainingData, coco_data
from fewmask.models.device import resolve_device
from fewmask.pipelines.mine import proposer_weights, run_mine
from fewmask.pipelines.mine_request import MineRequest, RefineRequest
from fewmask.pipelines.recipes import read_recipe
from fewmask.training.loop import StepReport, TrainTask, train

# Short and careful: mined masks are noisy and miss objects, and what is not marked counts as background.
RECIPE = MinvisRecipe.model_validate(
    {
        "sizes": [[224, 320], [256, 288], [192, 352], [288, 256]],
        "points": 3136,
        "backbone_rate": 0.1,
        "augmentation": {"scale": [0.8, 1.6], "paste": 0.0},
        "train": {
            "steps": 150,
            "batch_size": 4,
            "learning_rate": 2e-5,
            "schedule": "cosine",
            "warmup": 20,
            "warmup_factor": 0.01,
            "ema": 0.99,
            "log_every": 10,
            "checkpoint_every": 50,
        },
    }
)


# The paper's fine-tuning is 1,000 iterations at a tenth of the rate of training; SGD there, AdamW here.
MASK_RCNN_RECIPE = MaskRcnnRecipe.model_validate(
    {"train": {"steps": 1000, "batch_size": 4, "learning_rate": 1e-5, "weight_decay": 1e-4, "clip_norm": 1.0}}
)
DENSE_RECIPE = DenseRecipe.model_validate(
    {
        "kind": "dense",
        "keep_names": True,
        "sizes": [[224, 320], [256, 288], [192, 352], [288, 256]],
        "backbone_rate": 0.1,
        "augmentation": {"scale": [0.8, 1.6], "paste": 0.0},
        "train": {
            "steps": 150,
            "batch_size": 4,
            "learning_rate": 5e-5,
            "clip_norm": 3.0,
            "schedule": "cosine",
            "warmup": 20,
            "warmup_factor": 0.01,
            "ema": 0.99,
            "log_every": 10,
            "checkpoint_every": 50,
        },
    }
)
NOTHING = "no mask was mined; there is nothing to refine on"
Recipe = MinvisRecipe | DenseRecipe | MaskRcnnRecipe


@dataclass(frozen=True)
class RefinedRound:
    """One round: the masks trained on, where the weights are, and figures on held-out labelled pictures, if any."""

    number: int
    weights: Path
    pictures: int
    masks: int
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)


def run_refine(
    mined: MineRequest, request: RefineRequest, report: Callable[[int, StepReport], None] = lambda *_: None
) -> list[RefinedRound]:
    """Refine the proposal network on the dataset that ``mined`` has left; a killed run goes on if that says resume.

    A reviewed dataset (``instances.reviewed.json``) is preferred to what the machine alone selected.

    Args:
        mined: the mining run, finished; later rounds mine the same videos with the same settings.
        request: how to refine.
        report: told (round, line of the training log).

    Raises:
        ConfigError: proposals that cannot be trained, or a strategy without what it needs.
        FewmaskError: data or weights that cannot be used.
    """
    check_refinable(mined, request)
    folder = mined.out / "refined"
    labelled = None if request.labelled is None else _usable(read_coco(request.labelled, request.images), request)
    recipe = _recipe(mined, request)
    run = RunDirectory.create(
        folder,
        command=mined.command,
        inputs={
            "labelled": request.labelled,
            "labelled pictures": None if request.labelled is None else picture_files(request.labelled, request.images),
            "mined": [_annotations(mined.out), *picture_files(_annotations(mined.out), mined.out / "images")],
            "weights": proposer_weights(mined),
        },
        settings={"strategy": request.strategy, "rounds": request.rounds, "hold_out": request.hold_out,
                  **recipe.model_dump(mode="json")},
        resume=mined.resume,
    )  # fmt: skip
    rounds: list[RefinedRound] = []
    dataset, weights = mined.out, mined.weights or "small"
    with run:
        for number in range(1, request.rounds + 1):
            place = folder / f"round-{number}"
            if number > 1:
                dataset = place / "dataset"
                run_mine(replace(mined, out=dataset, weights=str(weights)))
            found = _train_round(place, number, dataset, str(weights), recipe, labelled, request, mined, report)
            rounds.append(found)
            weights = str(found.weights)
            run.update({"rounds": [{**asdict(done), "weights": str(done.weights)} for done in rounds]})
        run.finish()
    return rounds


def check_refinable(mined: MineRequest, request: RefineRequest) -> None:
    """Refuse what `run_refine` could not do, before hours of mining.

    Raises:
        ConfigError: says what is missing or wrong.
        DatasetError: no labelled file where it should be.
    """
    if mined.proposals not in {"minvis", "maskrcnn"}:
        raise ConfigError(f"proposals {mined.proposals} cannot be refined; mine with --proposals minvis or maskrcnn")
    if request.strategy not in {"finetune", "retrain"}:
        raise ConfigError(f"refine {request.strategy!r} is unknown; use finetune or retrain")
    if request.strategy == "retrain" and request.labelled is None:
        raise ConfigError("refine retrain mixes labelled pictures in; name them with --labelled COCO.json")
    if request.rounds < 1 or request.hold_out < 2:
        raise ConfigError(f"rounds {request.rounds} and hold_out {request.hold_out} must be at least 1 and 2")
    if request.labelled is not None and not request.labelled.is_file():
        raise DatasetError(f"{request.labelled}: no such file; --labelled takes a COCO file of instances")
    _recipe(mined, request)


def training_mix(mined: CocoDataset, labelled: CocoDataset | None, request: RefineRequest) -> TrainingData:
    """What a round trains on, and the held-out labelled pictures that measure it.

    Raises:
        DatasetError: nothing was mined.
    """
    if not mined.annotations:
        raise DatasetError(f"{mined.path}: {NOTHING}")
    videos = coco_data(mined, class_agnostic=True).videos
    validate = None
    if labelled is not None:
        seen = coco_data(labelled, class_agnostic=True, hold_out=request.hold_out)
        validate = seen.validate
        if request.strategy == "retrain":
            videos += seen.videos
    return TrainingData(videos, ("object",), validate)


def _train_round(
    place: Path, number: int, dataset: Path, weights: str, recipe: Recipe, labelled: CocoDataset | None,
    request: RefineRequest, mined: MineRequest, report: Callable[[int, StepReport], None],
) -> RefinedRound:  # fmt: skip
    source = read_coco(_annotations(dataset), dataset / "images")
    device = resolve_device(mined.device)
    task = _task(recipe, weights, source, labelled, request)
    before_file = place / "before.json"
    if before_file.exists():
        before: dict[str, Any] = read_json(before_file, dict[str, float], "remove it, it is made again")
    else:
        before = task.validate()
        write_json(before_file, before, indent=2)
    after = train(
        task, recipe.train, place, device=torch.device(device), resume=(place / "checkpoint.pt").exists(),
        report=lambda line: report(number, line),
    )  # fmt: skip
    trained = place / "weights"
    if isinstance(recipe, MaskRcnnRecipe):
        trained /= "model.safetensors"
    return RefinedRound(number, trained, len(source.images), len(source.annotations), before, after)


def _annotations(dataset: Path) -> Path:
    reviewed = dataset / "instances.reviewed.json"
    return reviewed if reviewed.exists() else dataset / "instances.json"


def _task(
    recipe: Recipe, weights: str, source: CocoDataset, labelled: CocoDataset | None, request: RefineRequest
) -> TrainTask:
    if isinstance(recipe, MaskRcnnRecipe):
        if not source.annotations:
            raise DatasetError(f"{source.path}: {NOTHING}")
        mixed, held_out = [source], None
        if labelled is not None:
            held_out = _only(labelled, lambda image: image.id % request.hold_out == 0)
            if request.strategy == "retrain":
                mixed.append(_only(labelled, lambda image: image.id % request.hold_out != 0))
        return MaskRcnnTask(recipe, Path(weights), mixed, held_out)
    short_side = load(weights).short_side or recipe.validation_short_side
    recipe = recipe.model_copy(update={"validation_short_side": short_side})
    mix = training_mix(source, labelled, request)
    if isinstance(recipe, DenseRecipe):
        return DenseTask(recipe, mix, start_from=weights)
    return MinvisTask(recipe, mix, start_from=weights)


def _recipe(mined: MineRequest, request: RefineRequest) -> Recipe:
    recipe: Recipe
    if mined.proposals == "maskrcnn":
        recipe = MASK_RCNN_RECIPE if request.recipe is None else read_recipe(request.recipe, MaskRcnnRecipe)
    elif is_dense(pretrained.folder_of(mined.weights or pretrained.BUNDLED)):
        recipe = DENSE_RECIPE if request.recipe is None else read_recipe(request.recipe, DenseRecipe)
    else:
        recipe = RECIPE if request.recipe is None else read_recipe(request.recipe, MinvisRecipe)
    if request.steps is None:
        return recipe
    kept = tuple(milestone for milestone in recipe.train.milestones if milestone < request.steps)
    settings = recipe.train.model_copy(update={"steps": request.steps, "milestones": kept})
    return recipe.model_copy(update={"train": settings})


def _usable(labelled: CocoDataset, request: RefineRequest) -> CocoDataset:
    """The pictures that are annotated for everything, as far as the file says which."""
    field_name = request.require
    return labelled if field_name is None else _only(labelled, lambda image: bool(image.extra.get(field_name)))


def _only(dataset: CocoDataset, wanted: Callable[[CocoImage], bool]) -> CocoDataset:
    images = tuple(image for image in dataset.images if wanted(image))
    kept = {image.id for image in images}
    return replace(dataset, images=images, annotations=tuple(a for a in dataset.annotations if a.image_id in kept))
