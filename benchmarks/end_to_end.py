"""From a 360p video file to run-length masks of tracks with the bundled network, stage by stage, beside a plain loop.

The plain loop is what one writes in an afternoon: PyAV, the network as trained in batches of four, every mask of the
fifty queries resized to the frame, pycocotools. Ours is the pipeline of `fewmask segment` without files. Every way runs
in turn, round after round, in this one process; medians over the rounds are printed. On a machine that does other work,
read the processor time and the ratios; wall-clock frames per second are those of the moment.

    python benchmarks/end_to_end.py [--frames 48] [--rounds 3] [--threads 2] [--runtimes onnxruntime openvino]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask

from fewmask.media.frames import open_frames
from fewmask.media.stage_times import profiled, timed
from fewmask.media.writer import VideoWriter
from fewmask.minvis.frame_instances import resize_logits
from fewmask.minvis.pretrained import load
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings, resolve
from fewmask.pipelines.segment import demo_clip

SIZE = (360, 640)
BATCH = 4


def clip_360p(folder, frames):
    """The bundled clip at 360p, there and back until it is long enough."""
    with open_frames(demo_clip()) as source:
        pictures = [cv2.resize(frame.rgb, SIZE[::-1], interpolation=cv2.INTER_AREA) for frame in source]
    course = pictures + pictures[-2:0:-1]
    path = folder / "clip.mp4"
    with VideoWriter(path, SIZE, 24.0) as writer:
        for index in range(frames):
            writer.write(course[index % len(course)])
    return path


def plain_loop(segmenter, path):
    """One stage after the other; every mask at full size."""
    masks, batch = 0, []

    def run():
        output = segmenter(np.stack(batch), short_side=segmenter.short_side)
        for logits in output.masks_queries_logits:
            full = resize_logits(logits, output.padded_size, output.image_size, SIZE) > 0
            return len(coco_mask.encode(np.asfortranarray(full.numpy().transpose(1, 2, 0).astype(np.uint8))))
        return 0

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            batch.append(frame.to_ndarray(format="rgb24"))
            if len(batch) == BATCH:
                masks += run()
                batch.clear()
    if batch:
        masks += run()
    return masks


def ours(model, path):
    """The pipeline of `fewmask segment`, without files; what the stages took."""
    with profiled() as profile, open_frames(path) as source:
        stream = model.open_stream(resolve(StreamSettings(batch=BATCH), source, model.segmenter.device))
        for _ in timed("waiting", stream.run(timed("decode", source))):
            profile.first_frame()
    return profile


def as_trained(segmenter):
    """The same weights without folding, as who loads them and calls them has it."""
    object.__setattr__(segmenter, "_run", segmenter.network)
    return segmenter


def first_frame(path, folder):
    """Seconds from the start of the command to the first result, the file cache warm: the second of two runs."""
    for run in ("cold", "warm"):
        start = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable, "-m", "fewmask", "segment", str(path), "--out", str(folder / run), "--profile",
                "--json", "--no-overlay", "--no-masks",
            ],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        took = time.perf_counter() - start
    profile = json.loads(done.stdout)["profile"]
    return took - profile["total_s"] + profile["first_frame_s"], profile


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runtimes", nargs="*", default=["onnxruntime", "openvino"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runtimes = [name for name in arguments.runtimes if find_spec(name)]
    ways = {
        "plain loop": as_trained(load()),
        "ours, float32": MinVIS(load()),
        "ours, bfloat16": MinVIS(load(autocast_dtype=torch.bfloat16)),
    }
    for name in runtimes:
        ways[f"ours, {name}"] = MinVIS(load(runtime=name))
        if name == "openvino":
            ways["ours, openvino bf16"] = MinVIS(load(runtime=name, autocast_dtype=torch.bfloat16))
    wall, processor = {name: [] for name in ways}, {name: [] for name in ways}
    shares = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        path = clip_360p(Path(folder), arguments.frames)
        short = clip_360p(Path(folder) / "short", 8)
        for turn in range(arguments.rounds + 1):  # the first one warms up, and converts
            for name, way in ways.items():
                now, cpu = time.perf_counter(), time.process_time()
                used = short if turn == 0 else path
                profile = plain_loop(way, used) if name == "plain loop" else ours(way, used)
                if turn == 0:
                    continue
                wall[name].append(time.perf_counter() - now)
                processor[name].append(time.process_time() - cpu)
                if name != "plain loop":
                    inside = sum(profile.stages[part].seconds for part in ("network", "queries"))
                    shares[name].append(inside / profile.total_s)
        start_s, stages = first_frame(short, Path(folder))
    peer_wall, peer = statistics.median(wall["plain loop"]), statistics.median(processor["plain loop"])
    print(f"{arguments.frames} frames at {SIZE[1]}x{SIZE[0]}, {arguments.threads} threads, {arguments.rounds} rounds")
    print(f"{'way':<22}{'frames/s':>9}{'x':>7}{'cpu ms/frame':>14}{'x':>7}{'in network':>12}")
    for name in ways:
        took, cpu = statistics.median(wall[name]), statistics.median(processor[name])
        share = f"{statistics.median(shares[name]):.0%}" if shares[name] else ""
        print(
            f"{name:<22}{arguments.frames / took:>9.2f}{peer_wall / took:>7.2f}"
            f"{1000 * cpu / arguments.frames:>14.0f}{peer / cpu:>7.2f}{share:>12}"
        )
    print(f"first frame {start_s:.1f} s after the command, of a warm file cache; before it:")
    for name, of in stages["stages"].items():
        print(f"  {name:<10}{of['seconds']:>8.2f} s")


if __name__ == "__main__":
    main()
