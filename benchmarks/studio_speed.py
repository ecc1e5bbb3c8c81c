"""The studio on a long run: opening, moving in time and the server's memory, in a real Chromium.

Makes a run of 100,000 frames and 50 tracks (and its video, of repeated packets), opens it twice as a user would (the
first time it is indexed), jumps to random frames, plays nothing, and prints what it took.

    python benchmarks/studio_speed.py --frames 100000 --tracks 50 --jumps 60
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from fewmask.media import rle
from fewmask.media.writer import VideoWriter

SIZE = (360, 640)
LOOP = 500  # frames that are encoded; the video repeats them
TOKEN = "a-token-for-this-benchmark"


def make_video(path: Path, frames: int) -> None:
    """A scene that moves, encoded once and repeated."""
    loop = path.with_name("loop.mp4")
    noise = np.random.default_rng(0).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    with VideoWriter(loop, SIZE, 25.0) as writer:
        for index in range(LOOP):
            picture = np.roll(noise, index, axis=1)
            picture[100:200, index : index + 80] = 200
            writer.write(picture)
    with av.open(str(path), "w") as out:
        stream = start = step = None
        done = 0
        while done < frames:
            with av.open(str(loop)) as source:
                inner = source.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(inner)
                    step = round(1 / 25 / inner.time_base)
                start = done * step
                packets = [packet for packet in source.demux(inner) if packet.size]
                for packet in packets:
                    packet.pts, packet.dts = packet.pts + start, packet.dts + start
                    packet.stream = stream
                    out.mux(packet)
                done += len(packets)


def make_run(folder: Path, frames: int, tracks: int, video: Path) -> None:
    """Discs that go round; each track is there for 60 % of the frames, in stretches."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(1)
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    with (folder / "tracks.json").open("w") as file:
        file.write("[\n")
        for track in range(1, tracks + 1):
            angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
            radius, middle = chance.integers(8, 40), chance.integers(60, 300, 2)
            masks = [
                (rows - middle[0] - 50 * np.sin(a)) ** 2 + (columns - middle[1] - 90 * np.cos(a)) ** 2 < radius**2
                for a in angles
            ]
            texts = [json.dumps(run, separators=(",", ":")) for run in rle.encode_many(np.stack(masks))]
            there = np.repeat(chance.random(frames // 200 + 1) < 0.6, 200)[:frames]
            entry = {"video_id": 1, "track_id": track, "category_id": 1, "score": round(0.95 - 0.9 * track / tracks, 3)}
            file.write(("" if track == 1 else ",\n") + json.dumps(entry)[:-1] + ', "segmentations": [')
            file.write(",".join(texts[t % 60] if there[t] else "null" for t in range(frames)))
            file.write("]}")
        file.write("\n]\n")
    manifest = {"inputs": {"source": {"path": str(video)}}, "settings": {"min_score": 0.0}, "command": ["segment"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def resident_mib(pid: int) -> float:
    """Of a process, from Linux."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def processor_s(pid: int) -> float:
    """Processor time that a process took so far, from Linux; on a shared machine it says more than the clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--tracks", type=int, default=50)
    parser.add_argument("--jumps", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="folder that keeps the run for another time")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium on this machine")
    folder = options.keep or Path(tempfile.mkdtemp())
    run, video = folder / "run", folder / "long.mp4"
    if not (run / "manifest.json").exists():
        make_video(video, options.frames)
        make_run(run, options.frames, options.tracks, video)
    size = (run / "tracks.json").stat().st_size / 2**20
    print(f"{options.frames} frames, {options.tracks} tracks, tracks.json {size:.0f} MiB")
    words = [sys.executable, "-m", "fewmask", "studio", str(run), "--out", str(folder / "studio"), "--port", "0"]
    words += ["--token", TOKEN, "--no-browser", "--json"]
    server = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env={**os.environ, "FEWMASK_CACHE": str(folder / "cache")}
    )
    try:
        address = json.loads(server.stdout.readline())["address"]
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(1_800_000)
            page.goto(address)
            here = page.locator("a.tile[href^='#/run/']").first.get_attribute("href")
            for what in ("first opening, with indexing", "opening"):
                page.goto(address.split("?")[0] + "#/")
                page.locator("a.tile").first.wait_for()
                began, before = time.monotonic(), processor_s(server.pid)
                page.goto(address.split("?")[0] + here)
                page.wait_for_function("() => window.studioViewer?.player.shownIndex !== undefined")
                print(
                    f"{what}: {time.monotonic() - began:.2f} s, of the server's processor time "
                    f"{processor_s(server.pid) - before:.2f} s, server {resident_mib(server.pid):.0f} MiB"
                )
            chance, took, before = random.Random(0), [], processor_s(server.pid)
            for jump in range(options.jumps):
                index = chance.randrange(options.frames)
                took.append(
                    page.evaluate(
                        "index => studioViewer.player.seek(index).then(() => studioViewer.player.lastSeekMs)", index
                    )
                )
                if (jump + 1) % max(1, options.jumps // 4) == 0:
                    print(f"after {jump + 1} jumps: server {resident_mib(server.pid):.0f} MiB")
            ordered = sorted(took)
            print(
                f"a jump to its picture with masks: median {statistics.median(took):.0f} ms, "
                f"90 % below {ordered[int(0.9 * len(ordered))]:.0f} ms, longest {ordered[-1]:.0f} ms; "
                f"of the server's processor time {1000 * (processor_s(server.pid) - before) / len(took):.0f} ms each"
            )
            print(f"processes that wanted to run beside it (load): {os.getloadavg()[0]:.0f}")
            browser.close()
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
        if options.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
