"""Tables 6 and 7 of VIPMT: how IoUNet is trained, and from which predicted IoU a frame may enter the memory.

    python reproduce/vipmt_memory.py --data videos/instances.json --weights small --steps 60

The network stays as it is. IoUNet is trained anew on its predictions ("real") or on noisy true masks ("synthetic":
videos or images, whatever the data holds), then judges every frame of test videos; every mode is tried at every
threshold. Beside them stand no memory at all, and the most that memory could give: every frame with its true mask.
Classes of the first fold are tested on, IoUNet learns from the others.
"""

import argparse
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import torch
from vipmt_components import RECIPES, mean_figures

from fewmask.training.loop import train
from fewmask.vipmt.episodes import EpisodeSampler
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.recipe import VIPMTRecipe
from fewmask.vipmt.train import VIPMTTask
from fewmask.vipmt.training_videos import read_videos

PAPER = {0.5: 63.3, 0.6: 63.3, 0.7: 63.4, 0.8: 63.5, 0.9: 63.5}  # J, with structural maps, trained on images
PAPER_MODES = {"real": "63.2", "synthetic": "63.2 of videos, 63.3 of images"}  # at 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="YouTube-VIS file, for instance of `fewmask synth`")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.4, 0.6, 0.8])
    parser.add_argument("--steps", type=int, default=60, help="of training IoUNet; 0 = as it is in the weights")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--episodes", type=int, default=2, help="test episodes per class")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = VIPMTRecipe.model_validate(tomllib.loads((RECIPES / "small_coco_mini.toml").read_text(encoding="utf-8")))
    videos, names = read_videos(arguments.data, arguments.root)
    shown = [c for c in sorted(names) if sum(1 for v in videos if v.shown.get(c)) > base.shots]
    tested, learnt = shown[::4], [c for i, c in enumerate(shown) if i % 4]
    features = None
    for mode in ("real", "synthetic") if arguments.steps else ("as it is",):
        network = VIPMT.from_pretrained(arguments.weights, device="cpu").network
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith("iou_net."))
        settings = base.train.model_copy(
            update={
                "steps": max(arguments.steps, 1),
                "learning_rate": arguments.rate,
                "ema": None,
                "seed": arguments.seed,
            }
        )
        recipe = base.model_copy(
            update={
                "network": network.config, "train": settings, "iou_rate": 1.0, "ccds": "off", "clips": 1,
                "iou_training": "real" if mode == "real" else "noisy",
            }
        )  # fmt: skip
        length, views = network.config.clip_length, 1

        def sampler(classes: list[int], clips: int, length: int = length, views: int = views) -> EpisodeSampler:
            return EpisodeSampler(
                videos, classes, shots=base.shots, clip_length=length, clips=clips, views=views, seed=arguments.seed
            )

        task = VIPMTTask(recipe, network, sampler(learnt, 1))
        if features is not None:
            features.network, task.features = network, features
        features = task.features
        if arguments.steps:
            with tempfile.TemporaryDirectory() as folder:
                train(task, settings, Path(folder), device=torch.device("cpu"))
        test = sampler(tested, 3)
        judged: list[tuple[float, float]] = []
        alone = mean_figures(task, test, arguments.episodes, threshold=2.0, judged=judged).j
        best = mean_figures(task, test, arguments.episodes, true_memory=True).j
        predicted, true = np.array(judged).T
        print(f"IoUNet trained on {mode} masks: mean error {np.abs(predicted - true).mean():.3f}, "
              f"correlation with the true IoU {np.corrcoef(predicted, true)[0, 1]:.2f}")  # fmt: skip
        print(f"  no memory          J {alone:.1f}   (paper, J at 0.5: {PAPER_MODES.get(mode, '')})")
        for threshold in arguments.thresholds:
            share = 100 * float((predicted >= threshold).mean())
            j = mean_figures(task, test, arguments.episodes, threshold=threshold).j
            print(f"  threshold {threshold:<8} J {j:.1f}   {share:.0f} % of frames reliable   "
                  f"paper {PAPER.get(threshold, '')}", flush=True)  # fmt: skip
        print(f"  true masks         J {best:.1f}", flush=True)


if __name__ == "__main__":
    main()
