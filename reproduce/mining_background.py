"""Train a background network on MobileNetV2 from its recipe, hold out a fifth, report foreground IoU.

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
from fewmask.mining.background_initial import load_initial
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.background_train import BackgroundRecipe, BackgroundTask
from fewmask.training.loop import train

RECIPES = Path(__file__).parent.parent / "recipes" / "mining"


def split(dataset: CocoDataset, held_out: bool) -> CocoDataset:
    images = tuple(i for i in dataset.images if i.extra.get("all80", True) and (i.id % 5 == 0) == held_out)
    kept = {image.id for image in images}
    annotations = tuple(a for a in dataset.annotations if a.image_id in kept)
    return dataclasses.replace(dataset, images=images, annotations=annotations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with instances.json and images/")
    parser.add_argument("--backbone", type=Path, required=True, help="ImageNet MobileNetV2, torchvision's names")
    parser.add_argument("--recipe", type=Path, default=RECIPES / "background_mobilenetv2.toml")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    recipe = BackgroundRecipe.model_validate(tomllib.loads(arguments.recipe.read_text()))
    network = BackgroundNet(recipe.network)
    load_initial(network, arguments.backbone)
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
