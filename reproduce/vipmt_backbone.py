"""Train the backbone of the bundled few-shot network to tell classes apart, from its ImageNet weights.

    python reproduce/vipmt_backbone.py --data instances.json --backbone mobilenet_v2.safetensors --out RUN

``RUN/weights/backbone.safetensors`` is what `fewmask train vipmt --backbone` takes. Pictures whose id is divisible by 5
are left out, and so are the pixels of the classes that `--held-out` names.
"""

import argparse
import dataclasses
import tomllib
from pathlib import Path

import torch

from fewmask.datasets.coco import read_coco
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.training.loop import train
from fewmask.vipmt.backbone import MobileNetV2
from fewmask.vipmt.backbone_train import BackboneRecipe, BackboneTask, PixelClassifier
from fewmask.vipmt.config import SMALL

RECIPE = Path(__file__).parent.parent / "recipes" / "vipmt" / "backbone_mobilenet_v2.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--backbone", type=Path, required=True, help="ImageNet MobileNetV2, torchvision's names")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--held-out", nargs="*", default=[], metavar="CLASS")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    recipe = BackboneRecipe.model_validate(tomllib.loads(arguments.recipe.read_text()))
    whole = read_coco(arguments.data, arguments.images)
    images = tuple(image for image in whole.images if image.id % 5)
    kept = {image.id for image in images}
    annotations = tuple(a for a in whole.annotations if a.image_id in kept)
    dataset = dataclasses.replace(whole, images=images, annotations=annotations)
    torch.manual_seed(recipe.train.seed)
    backbone = MobileNetV2()
    own, found = backbone.state_dict(), read_checkpoint(arguments.backbone)
    backbone.load_state_dict({name: found.get(name, value) for name, value in own.items()})
    network = PixelClassifier(backbone, 1 + len(dataset.categories), SMALL.fused_blocks, recipe.temperature)
    task = BackboneTask(recipe, network, dataset, arguments.held_out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(
        task, recipe.train, arguments.out, device=torch.device("cpu"), resume=arguments.resume,
        report=lambda line: print(line.step, line.losses, round(line.seconds_per_step, 2), flush=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
