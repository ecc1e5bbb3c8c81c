"""From a recipe file to a training run."""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from fewmask.datasets.coco import read_coco
from fewmask.datasets.json_file import load_object
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import CheckpointError, ConfigError
from fewmask.media.run_directory import RunDirectory
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import TrainingData, coco_data, ytvis_data
from fewmask.models.device import resolve_device
from fewmask.training.loop import StepReport, train


def read_minvis_recipe(path: Path) -> MinvisRecipe:
    """A recipe under recipes/minvis/.

    Raises:
        ConfigError: missing, not TOML, or a key or value that cannot be; the message names it.
    """
    try:
        return MinvisRecipe.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); see recipes/ for examples") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {key + ': ' if key else ''}{first['msg']}") from error


def train_minvis(
    recipe_path: Path,
    data: Path,
    out: Path,
    *,
    images: Path | None = None,
    initial: Path | None = None,
    steps: int | None = None,
    frames: float | None = None,
    device: str = "auto",
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda _: None,
) -> dict[str, float]:
    """Train a MinVIS segmenter; returns the figures on held-out pictures. Under torchrun, one process per device.

    Raises:
        FewmaskError: a recipe, dataset, checkpoint or folder that cannot be used.
    """
    recipe = read_minvis_recipe(recipe_path)
    if steps is not None:
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps})})
    if frames is not None:
        recipe = recipe.model_copy(update={"frames": frames})
    where = _join_processes(device)
    task = MinvisTask(
        recipe, _minvis_data(recipe, data, images), None if initial is None else _initial_weights(initial)
    )
    first = not dist.is_initialized() or dist.get_rank() == 0
    run = (
        RunDirectory.create(
            out,
            command=["fewmask", "train", "minvis", str(recipe_path)],
            inputs={"data": data, "initial": initial and str(initial)},
            settings=recipe.model_dump(mode="json"),
            resume=resume,
        )
        if first
        else None
    )
    try:
        figures = train(task, recipe.train, out, device=where, resume=resume, report=report)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if run is not None:
        run.update({"figures": figures})
        run.finish()
    return figures


def _minvis_data(recipe: MinvisRecipe, path: Path, images: Path | None) -> TrainingData:
    """Pictures or videos, whichever the file holds."""
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


def _join_processes(device: str) -> torch.device:
    """Join torchrun's group where there is one; the device of this process."""
    if "LOCAL_RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return resolve_device(device)
    where = resolve_device(device)
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    return where


def _initial_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    return state
