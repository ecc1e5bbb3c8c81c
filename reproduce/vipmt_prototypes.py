"""Does a VIPMT network use its prototypes? J on DAVIS with parts of it switched off or shown something else.

    python reproduce/vipmt_prototypes.py --davis davis --coco instances.json --images images --every 8

Every row segments the same features with the same supports. A part whose removal costs nothing is not used; supports of
another class that cost nothing *in the iterations* mean that these refine whatever they are handed. Below the table
the share of clip prototypes that differs between videos; 0 = the same for every video. DAVIS is for evaluation only.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from vipmt_davis import NEAREST, supports_of

from fewmask.datasets.coco import read_coco
from fewmask.media.frames import open_frames
from fewmask.vipmt.backbone import FrameFeatures
from fewmask.vipmt.collapse import differing_share
from fewmask.vipmt.exemplars import Exemplars
from fewmask.vipmt.letterbox import Letterbox, normalise
from fewmask.vipmt.losses import iou_labels
from fewmask.vipmt.memory import ReliableMemory
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.network import ClipSegmentation, VIPMTNetwork
from fewmask.vipmt.stream import fit_support
from fewmask.vipmt.support import read_mask

PARTS = {
    "clip attention": "clip_post",
    "support and memory attention": "exemplar_post",
    "frame attention": "frame_post",
}


@dataclass(frozen=True)
class Video:
    """Encoded frames, their true masks [T, H, W] at the network's size, and the supports of their class."""

    name: str
    features: FrameFeatures
    truth: Tensor
    support: Exemplars


@contextmanager
def without(network: VIPMTNetwork, part: str) -> Iterator[None]:
    """A term of eq 9, 10 or 14 is 0 inside the block."""
    hooks = [
        getattr(iteration, part).register_forward_hook(lambda _module, _inputs, output: torch.zeros_like(output))
        for iteration in network.transformer.iterations
        if getattr(iteration, part) is not None
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def segmented(
    network: VIPMTNetwork,
    video: Video,
    *,
    clip: int = 5,
    memory: str = "",
    iterated: Exemplars | None = None,
    support: Exemplars | None = None,
) -> Iterator[tuple[ClipSegmentation, Tensor]]:
    """Results and true masks, clip after clip; ``memory``: "" = none, "reliable" = as shipped, "true" = true masks."""
    remembered = ReliableMemory(0, video.name)
    for number, start in enumerate(range(0, len(video.truth), clip)):
        places = list(range(start, min(start + clip, len(video.truth))))
        features, truth = video.features.take(places), video.truth[places]
        recalled = remembered.recall(number, network.config.memory_length) if memory else None
        result = network.segment(
            features, network.config.input_size, support or video.support, recalled, iterated=iterated
        )
        yield result, truth
        for t, place in enumerate(places):
            mask = truth[t] if memory == "true" else result.masks[t]
            if mask.any() and (memory == "true" or result.iou_scores[t] >= network.config.memory_threshold):
                remembered.add(place, network.exemplars(features.take([t]), mask[None]))


def mean_j(results: Iterator[tuple[ClipSegmentation, Tensor]]) -> float:
    return float(np.mean([j for result, truth in results for j in iou_labels(result.masks, truth).tolist()]))


def read_video(arguments: argparse.Namespace, coco, network: VIPMTNetwork, name: str) -> Video:
    pictures, masks = [], []
    with open_frames(arguments.davis / "JPEGImages" / name) as source:
        for frame in source:
            if frame.index % arguments.every == 0:
                box = Letterbox.fit(frame.rgb.shape[:2], network.config.input_size)
                pictures.append(box.image(frame.rgb))
                masks.append(box.mask(read_mask(arguments.davis / "Annotations" / name / f"{frame.index:05d}.png")))
    fitted = fit_support(network, supports_of(coco, NEAREST[name], 5, 0))
    return Video(
        name, network.encode(normalise(np.stack(pictures))), torch.from_numpy(np.stack(masks)), *fitted.classes.values()
    )


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--coco", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--sequences", nargs="+", choices=sorted(NEAREST), default=sorted(NEAREST))
    arguments = parser.parse_args()
    network = VIPMT.from_pretrained(arguments.weights, device="cpu").network
    coco = read_coco(arguments.coco, arguments.images)
    videos = [read_video(arguments, coco, network, name) for name in arguments.sequences]

    rows: dict[str, list[float]] = {}
    prototypes: list[list[Tensor]] = [[] for _ in network.transformer.iterations]
    for place, video in enumerate(videos):
        others = [v for v in videos if not set(NEAREST[v.name]) & set(NEAREST[video.name])]
        other = others[place % len(others)].support if others else video.support
        whole = list(segmented(network, video))
        for level, found in enumerate(prototypes):
            found += [result.iterations[level].clip_prototype for result, _ in whole]
        figures = {
            "clips, no memory": mean_j(iter(whole)),
            "frame by frame, no memory": mean_j(segmented(network, video, clip=1)),
            "memory as shipped": mean_j(segmented(network, video, memory="reliable")),
            "memory of true masks": mean_j(segmented(network, video, memory="true")),
            "another class in the iterations": mean_j(segmented(network, video, iterated=other)),
            "another class everywhere": mean_j(segmented(network, video, support=other)),
        }
        for name, part in PARTS.items():
            with without(network, part):
                figures[f"without {name}"] = mean_j(segmented(network, video))
        for name, value in figures.items():
            rows.setdefault(name, []).append(100 * value)
        print(video.name, {name: round(100 * value, 1) for name, value in figures.items()}, flush=True)

    first = np.array(next(iter(rows.values())))
    print(f"{'':40}{'J':>8}{'difference':>12}{'+-':>6}")
    for name, values in rows.items():
        difference = np.array(values) - first
        error = difference.std() / len(values) ** 0.5
        print(f"{name:40}{np.mean(values):8.1f}{difference.mean():+12.1f}{error:6.1f}")
    shares = [f"{differing_share(torch.stack(found)):.4f}" for found in prototypes]
    print(f"share of G^ci that differs, per iteration: {', '.join(shares)}")


if __name__ == "__main__":
    main()
