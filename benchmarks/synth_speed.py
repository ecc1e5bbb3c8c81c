"""Frames per second of `fewmask synth` with one and with two processes, on the same videos.

    python benchmarks/synth_speed.py COCO.json [--images DIR] [--videos 60] [--size 192x320]

The videos are written as a user would have them (JPEG frames, masks as RLE, JSON); the time includes reading the
dataset and starting the processes. Beside the wall clock stands the processor time of all processes, which a busy
machine does not distort, and the bare rendering without any file, as training uses it.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2

from fewmask.datasets.coco import read_coco
from fewmask.datasets.copy_paste import load_cut_outs
from fewmask.datasets.synth import SynthConfig, synthesise
from fewmask.datasets.synth_background import load_backgrounds
from fewmask.datasets.synth_video import plan_video, render


def processor_seconds() -> float:
    """Of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def report(name: str, frames: int, wall: float, processor: float) -> float:
    print(f"{name:<22} {frames / wall:8.0f} frames/s   {frames / processor:8.0f} frames per processor second")
    return frames / wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--size", default="192x320")
    parser.add_argument("--occlusion", default="light", choices=["light", "heavy"])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    height, width = map(int, options.size.split("x"))
    config = replace(SynthConfig(), height=height, width=width, occlusion=options.occlusion)
    frames = options.videos * config.frames
    print(f"{options.videos} videos, {frames} frames of {height}x{width}, occlusion {config.occlusion}")
    rates = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            start, used = time.perf_counter(), processor_seconds()
            settings = {"videos": options.videos, "seed": 0, "config": config, "workers": workers}
            synthesise(options.coco, options.images, Path(folder) / "out", **settings)
            wall, processor = time.perf_counter() - start, processor_seconds() - used
        rates[workers] = report(f"written, {workers} process(es)", frames, wall, processor)
    dataset = read_coco(options.coco, options.images)
    cut_outs = load_cut_outs(dataset)
    backgrounds = load_backgrounds(dataset, rule=config.background, categories=set(cut_outs.category_ids))
    start, used = time.perf_counter(), processor_seconds()
    for index in range(options.videos):
        for _ in render(plan_video(cut_outs, backgrounds, config, (0, index))):
            pass
    report("in memory, 1 process", frames, time.perf_counter() - start, processor_seconds() - used)
    print(f"two processes are {rates[2] / rates[1]:.2f} times as fast as one")


if __name__ == "__main__":
    main()
