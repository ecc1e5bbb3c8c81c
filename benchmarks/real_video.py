"""How well the bundled segmenter works on real videos and pictures it has not seen, and how fast.

Needs the folder with data/davis_train and data/coco_mini (FEWMASK_DATA, default ../shared). DAVIS is for evaluation
only. Prints, over the DAVIS sequences, the mean J of the best track, of the highest-scoring track, and of the best
one together with the track that completes it (a rider and what is ridden), against the merged foreground; class-
agnostic mask AP, AP50 and AR10 on the coco_mini pictures whose id is divisible by 5; frames per second, for a
Mask2Former beside the plain transformers loop (per frame, float32, every query's mask resized) with the same
weights; and identity switches on videos with labelled tracks, of the tracks that `fewmask segment` shows:

    fewmask synth --from instances.json --images images --part val --occlusion heavy --seed 3 --videos 10 --out heavy
    fewmask label children.mp4 bikes.mp4 --every 5 --teacher yolox_nano.onnx --masks mobile_sam.safetensors --out pool
    python benchmarks/real_video.py --skip davis coco speed --identities heavy pool

    python benchmarks/real_video.py [--weights small] [--sequences N] [--skip davis|coco|speed ...] [--identities ...]
"""

import argparse
import dataclasses
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import result_from_masks
from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.metrics.identities import IdentityCounts, identity_switches
from fewmask.minvis.coco_figures import coco_figures
from fewmask.minvis.frame_instances import resize_logits
from fewmask.minvis.pixels import PixelNormalisation, prepare_pixels
from fewmask.minvis.pretrained import folder_of, is_small, load_small_network
from fewmask.minvis.stream import MinVIS
from fewmask.pipelines.segment_every import MIN_SCORE

DATA = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[2] / "shared")) / "data"


def track_j(track, truth):
    """Mean J over the frames with ground truth; both empty counts 1."""
    values = []
    for index, mask in truth.items():
        found = track.masks[index]
        if found is None:
            values.append(float(rle.area(mask) == 0))
        elif rle.area(mask) == 0:
            values.append(0.0)
        else:
            values.append(rle.iou_matrix([found], [mask])[0, 0])
    return float(np.mean(values))


def davis(model, limit):
    folders = sorted((DATA / "davis_train" / "JPEGImages").iterdir())[:limit]
    best, top, pair = [], [], []
    for folder in folders:
        video = model.segment(folder)
        truth = {
            index: rle.encode(np.asarray(Image.open(path)) > 0)
            for index, name in enumerate(video.file_names)
            if (path := DATA / "davis_train" / "Annotations" / folder.name / f"{Path(name).stem}.png").is_file()
        }
        scores = [track_j(track, truth) for track in video.tracks]
        best.append(max(scores))
        top.append(scores[0])
        first = video.tracks[int(np.argmax(scores))]
        pair.append(max([best[-1], *(track_j(together(first, other), truth) for other in video.tracks)]))
        print(f"  {folder.name:<20} best track J {best[-1]:.3f}   highest-scoring track J {top[-1]:.3f}   "
              f"best track and the one that completes it {pair[-1]:.3f}", flush=True)  # fmt: skip
    print(f"DAVIS, {len(folders)} sequences: best track J {np.mean(best):.3f}, "
          f"highest-scoring track J {np.mean(top):.3f}, "
          f"best track and the one that completes it {np.mean(pair):.3f}")  # fmt: skip


def together(first, second):
    """Two tracks as one: DAVIS marks a rider and what is ridden as one thing."""
    masks = [
        rle.union([mask for mask in both if mask is not None]) if any(mask is not None for mask in both) else None
        for both in zip(first.masks, second.masks, strict=True)
    ]
    return dataclasses.replace(first, masks=tuple(masks))


def coco(model):
    dataset = read_coco(DATA / "coco_mini" / "instances.json", DATA / "coco_mini" / "images")
    held_out = [image for image in dataset.images if image.id % 5 == 0 and image.extra.get("all80")]
    figures = coco_figures(model.segmenter, dataset, held_out)
    print(f"coco_mini, {len(held_out)} held-out pictures: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))


def identities(model, folder, min_score=MIN_SCORE):
    """Switches per 100 object frames of the tracks that a run shows, classes merged, on the labelled frames."""
    truth = read_ytvis(folder / "instances.json")
    total = IdentityCounts(0, 0, 0)
    for video in truth.videos:
        found = model.segment([folder / "JPEGImages" / name for name in video.file_names])
        tracks = [
            result_from_masks(video_id=video.id, category_id=1, score=track.score, segmentations=list(track.masks))
            for track in found.tracks
            if track.score >= min_score
        ]
        objects = [a for a in truth.annotations if a.video_id == video.id and not a.iscrowd]
        total = total + identity_switches(objects, tracks)
    print(
        f"identities, {folder.name}, {len(truth.videos)} videos, {total.objects} object frames: "
        f"{100 * total.switches / max(total.objects, 1):.1f} switches per 100 object frames, "
        f"{100 * total.switches / max(total.held, 1):.1f} per 100 that a track holds "
        f"({100 * total.held / max(total.objects, 1):.0f} %)",
        flush=True,
    )


def speed(model, frames=48, rounds=3):
    """Medians of alternating rounds over the same frames of a real clip."""
    clip = sorted((DATA / "davis_train" / "JPEGImages").iterdir())[0]
    if not is_small(folder_of(ARGUMENTS.weights)):
        timed(model, sorted(clip.iterdir())[:frames], rounds)
        return
    with open_frames(clip) as source:
        pictures = [frame.rgb for _, frame in zip(range(frames), source, strict=False)]
    ours, plain = [], []
    network, short_side = load_small_network(folder_of(ARGUMENTS.weights))
    for _ in range(rounds + 1):
        started = time.perf_counter()
        count = sum(1 for _ in model.stream([str(p) for p in sorted(clip.iterdir())[:frames]]))
        ours.append(count / (time.perf_counter() - started))
        started = time.perf_counter()
        with torch.inference_mode():
            for rgb in pictures:
                plain_frame(network, short_side, rgb)
        plain.append(len(pictures) / (time.perf_counter() - started))
    ours, plain = ours[1:], plain[1:]  # the first round warms up
    print(
        f"speed, {frames} frames of {pictures[0].shape[1]}x{pictures[0].shape[0]}, {torch.get_num_threads()} threads: "
        f"fewmask {statistics.median(ours):.1f} frames/s (decoding, linking and mask encoding included), "
        f"plain transformers loop {statistics.median(plain):.1f} frames/s (no decoding), "
        f"ratio {statistics.median(ours) / statistics.median(plain):.2f}"
    )


def timed(model, files, rounds):
    """Frames per second, decoding, linking and mask encoding included; the first round warms up."""
    rates = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        count = sum(1 for _ in model.stream(files))
        rates.append(count / (time.perf_counter() - started))
    print(f"speed, {len(files)} frames, {torch.get_num_threads()} threads: {statistics.median(rates[1:]):.1f} frames/s")


def plain_frame(network, short_side, rgb):
    """What a user writes with transformers: one frame, float32, all masks at full size."""
    pixels, image_size = prepare_pixels(
        rgb[None], PixelNormalisation(), short_side=short_side, max_size=1333, device=torch.device("cpu"),
        dtype=torch.float32,
    )  # fmt: skip
    out = network.model(pixel_values=pixels, output_hidden_states=True, return_dict=True)
    classes = [network.class_predictor(s.transpose(0, 1)) for s in out.transformer_decoder_intermediate_states]
    padded = (pixels.shape[-2], pixels.shape[-1])
    masks = resize_logits(out.masks_queries_logits[-1][0], padded, image_size, rgb.shape[:2]) > 0
    return classes[-1].softmax(-1), masks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--sequences", type=int, default=None)
    parser.add_argument("--skip", nargs="*", default=[], choices=["davis", "coco", "speed"])
    parser.add_argument("--identities", nargs="*", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or auto")
    ARGUMENTS = parser.parse_args()
    MODEL = MinVIS.from_pretrained(ARGUMENTS.weights, precision=ARGUMENTS.precision)
    if "coco" not in ARGUMENTS.skip:
        coco(MODEL)
    if "speed" not in ARGUMENTS.skip:
        speed(MODEL)
    if "davis" not in ARGUMENTS.skip:
        davis(MODEL, ARGUMENTS.sequences)
    for FOLDER in ARGUMENTS.identities:
        identities(MODEL, FOLDER)
