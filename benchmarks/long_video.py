"""Memory over the length of a video: 500 and 10,000 frames of a looped clip, and the procedure that keeps everything.

Each run is a process of its own, through the real decoder and the `segment` pipeline with the bundled weights at a
small input size. Prints peak resident memory, its course over the run, and how far ids last across the loop's seams.

    python benchmarks/long_video.py [--frames 500 10000] [--clip VIDEO] [--short-side 64]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.media.writer import VideoWriter
from fewmask.pipelines.segment import demo_clip


def write_loop(clip, path, frames, height=96):
    """``frames`` frames of the clip over and over, made small; returns the clip's length."""
    import cv2

    with open_frames(clip) as source:
        width = round(source.size[1] * height / source.size[0])
        pictures = [cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA) for frame in source]
    with VideoWriter(path, (height, width), 25.0) as writer:
        for t in range(frames):
            writer.write(pictures[t % len(pictures)])
    return len(pictures)


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def child_stream(video, out, short_side):
    """The pipeline users run; prints JSON."""
    from fewmask.pipelines.segment import run_segment
    from fewmask.pipelines.segment_request import EveryObject, RunOptions

    course = []

    def progress(done, _total):
        if done % 250 == 0:
            course.append((done, round(resident_mib(), 1)))

    started = time.monotonic()
    request = EveryObject(short_side=short_side, mode="bounded")
    summary = run_segment(RunOptions(source=str(video), out=Path(out)), request, progress)
    report(summary.frames, started, course)


def child_naive(video, _out, short_side):
    """All tensors kept, all masks of the best tracks resized at once: the official procedure."""
    import torch

    from fewmask.minvis import MinVIS, link_video

    segmenter = MinVIS.from_pretrained().segmenter
    started = time.monotonic()
    with open_frames(video) as frames:
        size = frames.size
        outputs = [segmenter(frame.rgb[None], short_side=short_side) for frame in frames]
    link_video(
        torch.cat([o.class_queries_logits for o in outputs]),
        torch.cat([o.masks_queries_logits for o in outputs]),
        torch.cat([o.query_embeddings for o in outputs]),
        padded_size=outputs[0].padded_size, image_size=outputs[0].image_size, output_size=size,
    )  # fmt: skip
    report(len(outputs), started, [])


def report(frames, started, course):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    seconds = time.monotonic() - started
    print(json.dumps({"frames": frames, "peak_mib": peak, "fps": frames / seconds, "course": course}))


def run_child(kind, video, out, short_side):
    words = [sys.executable, __file__, "--child", kind, str(video), str(out), "--short-side", str(short_side)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def seam_stability(tracks_file, period):
    """Share of (track, frame) whose mask one loop later has IoU above 0.5, over the tracks scored above 0.5."""
    same = []
    for track in json.loads(tracks_file.read_text()):
        if track["score"] < 0.5:
            continue
        masks = track["segmentations"]
        pairs = [(masks[t], masks[t + period]) for t in range(period, len(masks) - period, 7)]
        pairs = [(a, b) for a, b in pairs if a is not None or b is not None]
        same += [a is not None and b is not None and rle.iou_matrix([a], [b])[0, 0] > 0.5 for a, b in pairs]
    return float(np.mean(same)) if same else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs=2, default=(500, 10_000))
    parser.add_argument("--clip", type=Path, default=demo_clip())
    parser.add_argument("--short-side", type=int, default=64)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, video, out = arguments.child
        {"stream": child_stream, "naive": child_naive}[kind](video, out, arguments.short_side)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for frames in arguments.frames:
            video = Path(folder) / f"{frames}.mp4"
            period = write_loop(arguments.clip, video, frames)
            out = Path(folder) / f"run{frames}"
            found.append(run_child("stream", video, out, arguments.short_side))
            stable = seam_stability(out / "tracks.json", period)
            print(
                f"fewmask  {frames:>6} frames: peak {found[-1]['peak_mib']:7.0f} MiB, "
                f"{found[-1]['fps']:5.1f} frames/s, "
                f"ids kept over the seams {stable:.1%}",
                flush=True,
            )
            course = found[-1]["course"]
            later = [mib for done, mib in course if done > course[-1][0] / 2]
            earlier = [mib for done, mib in course if done <= course[-1][0] / 2]
            print(f"         resident MiB: first half {np.mean(earlier):.0f}, second half {np.mean(later):.0f}")
        naive_frames = arguments.frames[0]
        for frames in (naive_frames // 2, naive_frames):
            video = Path(folder) / f"naive{frames}.mp4"
            write_loop(arguments.clip, video, frames)
            naive = run_child("naive", video, folder, arguments.short_side)
            print(f"keep all {frames:>6} frames: peak {naive['peak_mib']:7.0f} MiB, {naive['fps']:5.1f} frames/s")
        print(f"peak of {arguments.frames[1]} frames / peak of {arguments.frames[0]}: "
              f"{found[1]['peak_mib'] / found[0]['peak_mib']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
