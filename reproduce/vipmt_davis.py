"""VIPMT on the 30 training sequences of DAVIS 2016, supports from COCO pictures of the nearest class.

    python reproduce/vipmt_davis.py --davis davis --coco instances.json --images images --every 8 --objects

DAVIS merges a rider and what is ridden into one object: such sequences get pictures that show both, with both masked.
Compared, on the same frozen features and with the same supports: VIPMT; the same weights frame by frame without memory;
a per-frame IPMT (`--baseline`, weights of recipes/vipmt/small_baseline.toml); and the nearest of the supports'
foreground and background prototypes; with `--objects` also what `--instances objects` shows. J is the mean over frames,
then sequences. DAVIS is for evaluation only.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from fewmask.datasets.coco import CocoDataset, read_coco
from fewmask.datasets.draws import draw
from fewmask.media import rle
from fewmask.media.frames import Frame, open_frames
from fewmask.media.image_pixels import read_rgb
from fewmask.metrics.contour import contour_accuracy
from fewmask.metrics.region import region_similarity
from fewmask.metrics.video_consistency import vc_vipmt
from fewmask.minvis.stream import MinVIS
from fewmask.pipelines.class_instances import QueryInstances
from fewmask.pipelines.kinship import Kinship
from fewmask.vipmt.letterbox import Letterbox, normalise
from fewmask.vipmt.model import VIPMT, clips_of
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.stream import ClipStream, fit_support
from fewmask.vipmt.support import SupportPicture, SupportSet, read_mask
from fewmask.vipmt.token_masks import to_tokens

NEAREST = {
    "bear": ("bear",), "bmx-bumps": ("person", "bicycle"), "boat": ("boat",), "breakdance-flare": ("person",),
    "bus": ("bus",), "car-turn": ("car",), "dance-jump": ("person",), "dog-agility": ("dog",), "drift-turn": ("car",),
    "elephant": ("elephant",), "flamingo": ("bird",), "hike": ("person",), "hockey": ("person",),
    "horsejump-low": ("person", "horse"), "kite-walk": ("person",), "lucia": ("person",), "mallard-fly": ("bird",),
    "mallard-water": ("bird",), "motocross-bumps": ("person", "motorcycle"), "motorbike": ("person", "motorcycle"),
    "paragliding": ("kite",), "rhino": ("elephant",), "rollerblade": ("person",),
    "scooter-gray": ("person", "motorcycle"), "soccerball": ("sports ball",), "stroller": ("person",),
    "surf": ("person", "surfboard"), "swing": ("person",), "tennis": ("person",), "train": ("train",),
}  # fmt: skip
AREA = (0.05, 0.6)
"""Share of a support picture that the class covers."""
METHODS = ("VIPMT", "VIPMT, MinVIS outlines", "same weights, per frame", "IPMT, per frame", "nearest prototype")


def supports_of(coco: CocoDataset, names: tuple[str, ...], shots: int, seed: int) -> SupportSet:
    """Pictures that show all of the classes, masked with all of them; those of a fitting size before others."""
    wanted = {key for key, name in coco.categories.items() if name in names}
    found = []
    for image in coco.images:
        annotations = [a for a in coco.annotations_of[image.id] if a.category_id in wanted]
        if {a.category_id for a in annotations} == wanted:
            mask = rle.union([a.mask for a in annotations])
            found.append((image, mask, rle.area(mask) / (image.height * image.width)))
    fitting = [entry for entry in found if AREA[0] <= entry[2] <= AREA[1]]
    if len(fitting) < shots:
        fitting = sorted(found, key=lambda entry: -entry[2])[:shots]
    chosen = [fitting[i] for i in draw(range(len(fitting)), min(shots, len(fitting)), "davis supports", seed, *names)]
    pictures = [
        SupportPicture(image.file_name, read_rgb(coco.path_of(image)), rle.decode(mask)) for image, mask, _ in chosen
    ]
    return SupportSet({"+".join(names): tuple(pictures)})


def by_vipmt(network: VIPMTNetwork, supports: SupportSet, frames: list[Frame], seed: int) -> Iterator[np.ndarray]:
    stream = ClipStream(network, fit_support(network, supports), seed=seed)
    for clip in clips_of(frames, network.config.clip_length):
        for result in stream.step(clip):
            mask = result.masks[0]
            yield np.zeros(result.size, dtype=bool) if mask is None else rle.decode(mask)


def by_objects(
    network: VIPMTNetwork, segmenter: MinVIS, supports: SupportSet, frames: list[Frame], seed: int
) -> Iterator[np.ndarray]:
    """The MinVIS objects that lie in the class, all together."""
    stream = ClipStream(network, fit_support(network, supports), seed=seed)
    kinship = Kinship.of_supports(segmenter.segmenter, supports)
    objects = QueryInstances(segmenter, outlines=True, kinship=kinship)
    for clip in clips_of(frames, network.config.clip_length):
        for result in objects.step(clip, stream.step(clip)):
            masks = [mask for mask in result.masks if mask is not None]
            yield rle.decode(rle.union(masks)) if masks else np.zeros(result.size, dtype=bool)


@torch.inference_mode()
def by_prototypes(network: VIPMTNetwork, supports: SupportSet, frames: list[Frame]) -> Iterator[np.ndarray]:
    """Every token goes with the nearest of the supports' mean foreground and background features."""
    prototypes: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    (pictures,) = supports.classes.values()
    for picture in pictures:
        box = Letterbox.fit(picture.mask.shape, network.config.input_size)
        features = fused(network, box.image(picture.rgb))
        inside = to_tokens(torch.from_numpy(box.mask(picture.mask))[None])[0].bool()
        for side, region in zip(prototypes, (~inside, inside), strict=True):
            if region.any():
                side.append(functional.normalize(features[:, region].mean(1), dim=0))
    for frame in frames:
        box = Letterbox.fit(frame.rgb.shape[:2], network.config.input_size)
        features = functional.normalize(fused(network, box.image(frame.rgb)), dim=0)
        background, foreground = (
            torch.einsum("kc,chw->khw", torch.stack(side), features).amax(0) for side in prototypes
        )
        margin = (foreground - background)[None, None]
        full = functional.interpolate(margin, network.config.input_size, mode="bilinear", align_corners=False)[0]
        yield (box.restore(full)[0] > 0).numpy()


def fused(network: VIPMTNetwork, image: np.ndarray) -> torch.Tensor:
    """The two blocks that VIPMT fuses, each of unit length, [C, h, w]."""
    blocks = network.encode(normalise(image[None])).blocks
    return torch.cat([functional.normalize(blocks[i - 1][0], dim=0) for i in network.config.fused_blocks])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages and Annotations")
    parser.add_argument("--coco", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--baseline", help="weights of a per-frame IPMT")
    parser.add_argument("--objects", action="store_true", help="also with the outlines of MinVIS")
    parser.add_argument("--segmenter", default="small", help="weights of that MinVIS")
    parser.add_argument("--every", type=int, default=1, help="use every n-th frame")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sequences", nargs="+", choices=sorted(NEAREST), default=sorted(NEAREST))
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    coco = read_coco(arguments.coco, arguments.images)
    network = VIPMT.from_pretrained(arguments.weights, device=arguments.device).network
    alone = VIPMT.from_pretrained(arguments.weights, device=arguments.device).network
    alone.config = replace(alone.config, clip_length=1, memory_length=0)
    baseline = (
        VIPMT.from_pretrained(arguments.baseline, device=arguments.device).network if arguments.baseline else None
    )
    segmenter = MinVIS.from_pretrained(arguments.segmenter, device=arguments.device) if arguments.objects else None
    left_out = {"IPMT, per frame": baseline is None, "VIPMT, MinVIS outlines": segmenter is None}
    methods = [name for name in METHODS if not left_out.get(name, False)]
    print(f"{'':18}{'class':20}" + "".join(f"{name:>26}" for name in methods))
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
    for name in arguments.sequences:
        frames, truth = [], []
        with open_frames(arguments.davis / "JPEGImages" / name) as source:
            for frame in source:
                if frame.index % arguments.every == 0:
                    frames.append(frame)
                    truth.append(read_mask(arguments.davis / "Annotations" / name / f"{frame.index:05d}.png"))
        supports = supports_of(coco, NEAREST[name], arguments.shots, arguments.seed)
        found = {
            "VIPMT": by_vipmt(network, supports, frames, arguments.seed),
            "same weights, per frame": by_vipmt(alone, supports, frames, arguments.seed),
            "nearest prototype": by_prototypes(network, supports, frames),
        }
        if segmenter is not None:
            found["VIPMT, MinVIS outlines"] = by_objects(network, segmenter, supports, frames, arguments.seed)
        if baseline is not None:
            found["IPMT, per frame"] = by_vipmt(baseline, supports, frames, arguments.seed)
        line = f"{name:18}{'+'.join(NEAREST[name]):20}"
        for method in methods:
            masks, true = np.stack(list(found[method])), np.stack(truth)
            j, f = (float(np.mean(metric(masks, true))) for metric in (region_similarity, contour_accuracy))
            vc = vc_vipmt(masks, true, 7)
            figures[method].append((j, f, float("nan") if vc is None else vc))
            line += f"{100 * j:26.1f}"
        print(line, flush=True)
    for index, metric in enumerate(("J", "F", "VC7")):
        print(
            f"{'mean ' + metric:38}" + "".join(f"{100 * np.nanmean(figures[m], axis=0)[index]:26.1f}" for m in methods)
        )


if __name__ == "__main__":
    main()
