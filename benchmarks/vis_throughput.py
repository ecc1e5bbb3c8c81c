"""Video instance segmentation with one Mask2Former-R50, four ways: frames per second and peak memory.

    python benchmarks/vis_throughput.py                              # random weights, synthetic 360p frames
    python benchmarks/vis_throughput.py --source clip.mp4 --weights DIR --frames 48 --threads 8
    python benchmarks/vis_throughput.py --accuracy small --source clip.mp4   # masks in bfloat16 against float32

The ways, all from the same PNG files to run-length masks of ten tracks:

* loop: transformers' model, a frame at a time, its queries linked and its ten best masks resized as they come;
* official: transformers' model, everything stacked, linked at the end, ten masks of all frames resized at once;
* float32: `MinVIS.segment` in bounded mode, which keeps masks of the best tracks so far; same numbers up to rounding;
* bfloat16: the same with matrix products in bfloat16.

Every way runs in a process of its own, in turn, `--repeats` times; medians are printed. Beside wall time there is CPU
time per frame, which other work on the machine disturbs less. Ratios are against the loop.

Accuracy is the mean IoU of each frame's ten most confident masks with the same queries' masks in the other precision,
weighted by area, so that a mask of five pixels does not count as much as a person.
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WAYS = ("loop", "official", "float32", "bfloat16")
TOP = 10


def write_frames(folder, source, count, size):
    from PIL import Image

    if source is None:
        pictures = synthetic_frames(count, size)
    else:
        from fewmask.media.frames import open_frames

        pictures = (frame.rgb for frame in itertools.islice(open_frames(source), count))
    for index, rgb in enumerate(pictures):
        image = Image.fromarray(rgb)
        scale = size[0] / min(image.size)
        image.resize((round(image.width * scale), round(image.height * scale))).save(folder / f"{index:05d}.png")


def synthetic_frames(count, size):
    """Soft blobs that drift over a soft background."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    generator = np.random.default_rng(0)
    centres, speed = generator.uniform(0, 1, (8, 2)) * size, generator.uniform(-4, 4, (8, 2))
    colours = generator.uniform(0, 255, (8, 3))
    background = 40 * np.sin(rows / 31)[..., None] + 40 * np.cos(columns / 47)[..., None] + 110
    for index in range(count):
        picture = np.repeat(background, 3, axis=2)
        for centre, velocity, colour in zip(centres, speed, colours, strict=True):
            y, x = centre + index * velocity
            inside = ((rows - y) ** 2 + (columns - x) ** 2 < 45**2)[..., None]
            picture = np.where(inside, colour, picture)
        yield picture.clip(0, 255).astype(np.uint8)


def build_model(weights):
    import torch
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

    if weights is not None:
        return Mask2FormerForUniversalSegmentation.from_pretrained(weights).eval()
    torch.manual_seed(0)
    backbone = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    return Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=backbone, num_labels=40)).eval()


def plain_outputs(model, folder):
    """Class logits [Q, K+1], mask logits [Q, h, w], embeddings [Q, C], sizes and frame size, a frame at a time."""
    import torch

    from fewmask.media.frames import open_frames
    from fewmask.minvis.pixels import PixelNormalisation, prepare_pixels

    norm = model.model.transformer_module.decoder.layernorm
    with torch.inference_mode():
        for frame in open_frames(folder):
            pixels, image_size = prepare_pixels(
                frame.rgb[None], PixelNormalisation(), short_side=None, max_size=10_000,
                device=torch.device("cpu"), dtype=torch.float32,
            )  # fmt: skip
            output = model(pixels)
            embeddings = norm(output.transformer_decoder_last_hidden_state[0])
            sizes = tuple(pixels.shape[-2:]), image_size, frame.rgb.shape[:2]
            yield output.class_queries_logits[0], output.masks_queries_logits[0], embeddings, sizes


def resized(masks, sizes):
    """Bilinear to the padded size, cropped, bilinear to the frame: the official two steps, on [N, T, h, w]."""
    from torch.nn.functional import interpolate

    padded, image, frame = sizes
    masks = interpolate(masks, padded, mode="bilinear", align_corners=False)[..., : image[0], : image[1]]
    return interpolate(masks, frame, mode="bilinear", align_corners=False) > 0


def run_loop(model, folder):
    import torch

    from fewmask.media.rle import encode_many
    from fewmask.minvis.tracker import QueryTracker

    tracker, count, masks = QueryTracker(), 0, []
    for logits, low, embeddings, sizes in plain_outputs(model, folder):
        order = tracker.step(logits, embeddings)
        slots = torch.from_numpy(order[tracker.best(TOP).slots])
        masks.append(encode_many(resized(low[slots][None], sizes)[0].numpy()))
        count += 1
    return count


def run_official(model, folder):
    import torch

    from fewmask.media.rle import encode_many
    from fewmask.minvis.tracker import QueryTracker

    frames = list(plain_outputs(model, folder))
    tracker = QueryTracker()
    orders = [tracker.step(logits, embeddings) for logits, _, embeddings, _ in frames]
    stacked = torch.stack([low[torch.from_numpy(order)] for (_, low, _, _), order in zip(frames, orders, strict=True)])
    best = stacked.transpose(0, 1)[torch.from_numpy(tracker.best(TOP).slots)]  # [10, T, h, w]
    for track in resized(best, frames[0][3]).numpy():
        encode_many(track)
    return len(frames)


def run_ours(model, folder, autocast_dtype):
    from fewmask.minvis.mask2former import Mask2FormerSegmenter
    from fewmask.minvis.stream import MinVIS
    from fewmask.minvis.stream_settings import StreamSettings

    segmenter = Mask2FormerSegmenter(model, short_side=None, autocast_dtype=autocast_dtype)
    return MinVIS(segmenter).segment(folder, StreamSettings(top_k=TOP, mode="bounded")).length


def measure(way, folder, weights, threads):
    import torch

    torch.set_num_threads(threads)
    model = build_model(weights)
    warm_up = Path(folder) / "first"
    runs = {
        "loop": lambda path: run_loop(model, path),
        "official": lambda path: run_official(model, path),
        "float32": lambda path: run_ours(model, path, None),
        "bfloat16": lambda path: run_ours(model, path, torch.bfloat16),
    }
    runs[way](warm_up)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter(), time.process_time()
    count = runs[way](Path(folder) / "all")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"fps": count / wall, "cpu_s": cpu / count, "peak_mb": peak, "grown_mb": peak - before}


def compare_ways(arguments):
    with tempfile.TemporaryDirectory() as home:
        for name, count in (("first", 1), ("all", arguments.frames)):
            (Path(home) / name).mkdir()
            write_frames(Path(home) / name, arguments.source, count, arguments.size)
        results = {way: [] for way in WAYS}
        for _ in range(arguments.repeats):
            for way in WAYS:
                command = [sys.executable, __file__, "--measure", way, "--folder", home]
                command += ["--threads", str(arguments.threads)]
                command += ["--weights", arguments.weights] if arguments.weights else []
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results[way].append(json.loads(output.splitlines()[-1]))
    medians = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for way, runs in results.items()
    }
    print(f"{arguments.frames} frames, {arguments.threads} threads, median of {arguments.repeats}")
    print(f"{'way':<10}{'frames/s':>10}{'x loop':>8}{'cpu s/frame':>13}{'x loop':>8}{'peak MB':>9}{'grown MB':>10}")
    loop = medians["loop"]
    for way, m in medians.items():
        print(
            f"{way:<10}{m['fps']:>10.3f}{m['fps'] / loop['fps']:>8.2f}{m['cpu_s']:>13.3f}"
            f"{loop['cpu_s'] / m['cpu_s']:>8.2f}{m['peak_mb']:>9.0f}{m['grown_mb']:>10.0f}"
        )


def compare_precisions(arguments):
    import torch

    from fewmask.media.frames import open_frames
    from fewmask.minvis.pretrained import load

    torch.set_num_threads(arguments.threads)
    exact, rounded = load(arguments.accuracy), load(arguments.accuracy, autocast_dtype=torch.bfloat16)
    shared = union = 0
    for frame in itertools.islice(open_frames(arguments.source), arguments.frames):
        one, other = (net(frame.rgb[None], short_side=net.short_side) for net in (exact, rounded))
        confidence = one.class_queries_logits[0].softmax(-1)[:, :-1].amax(-1)
        best = confidence.topk(min(TOP, len(confidence))).indices
        first, second = (output.masks_queries_logits[0, best] > 0 for output in (one, other))
        shared += int((first & second).sum())
        union += int((first | second).sum())
    print(f"{arguments.accuracy}: IoU of bfloat16 with float32 masks {shared / union:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    parser.add_argument("--source", help="video or folder of frames; default: synthetic")
    parser.add_argument("--weights", help="folder or hub name of a Mask2Former; default: random ResNet-50")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--accuracy", metavar="MODEL", help="compare precisions on --source instead")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder, arguments.weights, arguments.threads)))
    elif arguments.accuracy:
        compare_precisions(arguments)
    else:
        compare_ways(arguments)


if __name__ == "__main__":
    main()
