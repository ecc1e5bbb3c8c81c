"""A training run: its folder, its processes, its manifest, and the loop inside."""

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from pydantic import BaseModel

from fewmask.media.run_directory import RunDirectory
from fewmask.models.device import resolve_device
from fewmask.pipelines.train_request import TrainRequest
from fewmask.training.loop import TrainTask, train
from fewmask.training.settings import TrainSettings


def run_training(
    request: TrainRequest, model: str, recipe: BaseModel, settings: TrainSettings, make: Callable[[], TrainTask],
    inputs: Mapping[str, Any],
) -> dict[str, float]:  # fmt: skip
    """Train into the run's folder; under torchrun one process per device, the first of which writes."""
    if request.steps is not None:
        kept = tuple(milestone for milestone in settings.milestones if milestone < request.steps)
        settings = settings.model_copy(update={"steps": request.steps, "milestones": kept})
    device = _join_processes(request.device)
    try:
        task = make()
        first = not dist.is_initialized() or dist.get_rank() == 0
        run = RunDirectory.create(
            request.out,
            command=["fewmask", "train", model, str(request.recipe)],
            inputs=inputs,
            settings={**recipe.model_dump(mode="json"), "train": settings.model_dump(mode="json")},
            resume=request.resume,
        ) if first else None  # fmt: skip
        with run or nullcontext():
            figures = train(task, settings, request.out, device=device, resume=request.resume, report=request.report)
            if run is not None:
                run.update({"figures": figures})
                run.finish()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return figures


def _join_processes(device: str) -> torch.device:
    """Join torchrun's group where there is one; the device of this process."""
    where = resolve_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "LOCAL_RANK" not in os.environ:
        return where
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    return where
