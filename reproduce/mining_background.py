"""Train the bundled background network from a recipe, hold out a fifth, report foreground IoU.

    python reproduce/mining_background.py --data coco_mini --backbone mobilenet_v2_imagenet.safetensors --out RUN

Images count as held out where their id is divisible by 5; those not annotated for all classes are left out.
"""

import argparse
import dataclasses
import json
import time
import tomllib
from pathlib import Path

import torch

from fewmask.datasets.coco import CocoDataset, read_coco
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.background_train import BackgroundRecipe, BackgroundTask
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.training.loop import train

RECIPES = Path(__file__).parent.parent / "recipes" / "mining"


def split(dataset: CocoDataset, held_out: bool) -> CocoDataset:
    images = tuple(i for i in dataset.images if i.extra.get("all80", True) and (i.id % 5 == 0) == held_out)
    kept = {image.id for image in images}
    annotations = tuple(a for a in dataset.annotations if a.image_id in kept)
    return dataclasses.replace(dataset, images=images, annotations=annotations)


def torchvision_name(timm_name: str) -> str:
    """The name in torchvision's MobileNetV2 of a tensor in timm's."""
    if timm_name.startswith("conv_stem"):
        return timm_name.replace("conv_stem", "features.0.0")
    if timm_name.startswith("bn1"):
        return timm_name.replace("bn1", "features.0.1")
    _, stage, block, layer, rest = timm_name.split(".", 4)
    first = [1, 2, 4, 7, 11, 14, 17][int(stage)]
    names = (
        {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
        if stage == "0"
        else {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"}
    )
    return f"features.{first + int(block)}.conv.{names[layer]}.{rest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with instances.json and images/")
    parser.add_argument("--backbone", type=Path, required=True, help="ImageNet MobileNetV2, torchvision's names")
    parser.add_argument("--recipe", type=Path, default=RECIPES / "background_mobilenetv2.toml")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    recipe = BackgroundRecipe.model_validate(tomllib.loads(arguments.recipe.read_text()))
    network = BackgroundNet(recipe.network)
    source = read_checkpoint(arguments.backbone)
    network.backbone.load_state_dict({name: source[torchvision_name(name)] for name in network.backbone.state_dict()})
    dataset = read_coco(arguments.data / "instances.json")
    task = BackgroundTask(network, recipe, split(dataset, False), split(dataset, True))
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.settings.seed)
    started = time.monotonic()
    figures = train(
        task,
        recipe.settings,
        arguments.out,
        device=torch.device("cpu"),
        report=lambda line: print(line.step, line.losses, round(line.seconds_per_step, 3), line.figures, flush=True),
    )
    print(json.dumps({**figures, "minutes": round((time.monotonic() - started) / 60, 1)}))


if __name__ == "__main__":
    main()
