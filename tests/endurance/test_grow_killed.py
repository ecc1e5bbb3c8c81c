"""The loop, killed at ten random moments and resumed, ends with the same dataset and the same weights, byte for byte.

Two clips of squares, an empty file and one that is no video; FEWMASK_KILLS sets how often it is killed.
"""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from moving_squares import picture, write_video
from PIL import Image
from verb_process import VerbProcess, run_verb

from fewmask.media.image_files import read_rgb

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="kills process groups"),
    pytest.mark.filterwarnings("ignore"),
]
KILLS = int(os.environ.get("FEWMASK_KILLS", "10"))
RED = (220, 40, 40)


def make_inputs(root: Path) -> list[str]:
    """The arguments but for the output."""
    for number, frames in enumerate((8, 10)):
        write_video(root / f"v{number}.mp4", frames)
    (root / "empty.mp4").write_bytes(b"")
    (root / "broken.mp4").write_bytes(b"no video at all" * 100)
    shown = root / "like" / "red"
    (shown / "masks").mkdir(parents=True)
    for t in (0, 4):
        rgb = picture(t)
        red = np.abs(rgb.astype(int) - RED).sum(-1) < 60
        Image.fromarray(rgb).save(shown / f"{t}.png")
        Image.fromarray((red * 255).astype(np.uint8)).save(shown / "masks" / f"{t}.png")
    videos = [str(root / name) for name in ("v0.mp4", "empty.mp4", "v1.mp4", "broken.mp4")]
    return ["grow", *videos, "--like", str(root / "like"), "--name", "red", "--frame-step", "1", "--keep-every", "1",
            "--steps", "4", "--rounds", "1", "--workers", "1", "--keep", "0.05", "--device", "cpu"]  # fmt: skip


def outcome(out: Path) -> dict[str, bytes]:
    """The files of the dataset, and of the weights."""
    files = [path for part in ("dataset", "weights") for path in sorted((out / part).rglob("*")) if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def differing(ours: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names of the files that are not the same, with what is wrong with each."""
    lines = []
    for name in sorted(ours.keys() | expected.keys()):
        if name not in expected:
            lines.append(f"{name}: only after kills")
        elif name not in ours:
            lines.append(f"{name}: missing after kills")
        elif ours[name] != expected[name]:
            pairs = zip(ours[name], expected[name], strict=False)
            first = next((at for at, (a, b) in enumerate(pairs) if a != b), "the end")
            lines.append(f"{name}: {len(ours[name])} bytes for {len(expected[name])}, differs from byte {first}")
    return lines


def test_killed_at_random_moments(tmp_path: Path) -> None:
    arguments = make_inputs(tmp_path)
    whole = run_verb([*arguments, "--out", str(tmp_path / "whole")], tmp_path / "whole.log")
    assert whole.code == 0, whole.said
    for name in ("empty", "broken"):
        assert [line for line in whole.said.splitlines() if f"{name}.mp4" in line], whole.said
    expected = outcome(tmp_path / "whole")
    masks = json.loads(expected["dataset/instances.json"])["annotations"]
    assert masks, "nothing was kept, so nothing was tried"
    assert read_rgb(next((tmp_path / "whole" / "dataset" / "images").rglob("*.jpg"))).shape == (64, 96, 3)

    numbers, out, killed = np.random.default_rng(3), tmp_path / "killed", 0
    for attempt in range(4 * KILLS):
        again = ["--resume"] if out.exists() else []
        process = VerbProcess([*arguments, "--out", str(out), *again], tmp_path / f"{attempt}.log")
        ended = process.wait(float(numbers.uniform(0.1, 0.6)) * whole.seconds)
        if ended is not None:
            assert ended.code == 0, ended.said
            break
        process.tell(signal.SIGKILL)
        killed += process.end().code == -signal.SIGKILL
        if killed == KILLS:
            last = run_verb([*arguments, "--out", str(out), "--resume"], tmp_path / "last.log")
            assert last.code == 0, last.said
            break
    assert killed >= min(2, KILLS)
    assert differing(outcome(out), expected) == []
