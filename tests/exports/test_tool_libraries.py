"""Results corrected by the own libraries of CVAT's world and Label Studio come back with their ids.

Datumaro and label-studio-sdk hold NumPy and others below what the package runs with, so they live in an environment of
their own, which the test makes (needs the registry); FEWMASK_TOOLS names a Python that has both.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewmask.datasets.convert import convert_data
from fewmask.datasets.ytvis import read_ytvis
from fewmask.exports.video_result import VideoResult
from fewmask.media import rle
from fewmask.media.results import Track

pytestmark = pytest.mark.slow
FRAMES, SIZE = 6, (48, 64)
BY_DATUMARO = """
import datumaro
dataset = datumaro.Dataset.import_from("cvat", "cvat")
labels = dataset.categories()[datumaro.AnnotationType.label]
for item in dataset:
    for found in item.annotations:
        if int(found.attributes["track_id"]) == 3:
            found.label = labels.find("dog")[0]
    item.annotations = [a for a in item.annotations if (item.id, int(a.attributes["track_id"])) != ("frame_000005", 7)]
dataset.export("corrected", "cvat", use_track=True)
"""
BY_LABEL_STUDIO = """
import json
import numpy
from label_studio_sdk.converter import brush
tasks = json.load(open("tasks.json"))
for task in tasks:
    regions = task["predictions"][0]["result"]
    for region in regions:
        height, width = region["original_height"], region["original_width"]
        mask = numpy.array(brush.decode_rle(region["value"]["rle"])).reshape(height, width, 4)[..., 3].copy()
        if region["id"] == "track-3":
            mask[40:44, 50:60] = 255
        region["value"]["rle"] = brush.mask2rle(mask)
    task["annotations"] = [{"result": regions}]
json.dump(tasks, open("corrected.json", "w"))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has both libraries."""
    if os.environ.get("FEWMASK_TOOLS"):
        return os.environ["FEWMASK_TOOLS"]
    if find_spec("uv") is None:
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    made = str(folder / "bin" / "python")
    packages = ["datumaro>=1.10", "label-studio-sdk>=2.0"]
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", made, *packages], check=False
    )
    if done.returncode:
        pytest.skip("the registry cannot be reached")
    return made


def result() -> VideoResult:
    """Track 3, a cat that moves and grows; track 7, a dog from frame 1 on."""

    def disc(x: int, radius: int) -> rle.Rle:
        rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
        return rle.encode((rows - 22) ** 2 + (columns - x) ** 2 <= radius**2)

    cat = tuple(disc(12 + 2 * t, 9 + t // 2) for t in range(FRAMES))
    dog = (None, *(disc(48, 10) for _ in range(FRAMES - 1)))
    return VideoResult("clip", SIZE, FRAMES, (Track(3, 2, 0.9, cat), Track(7, 5, 0.6, dog)), {2: "cat", 5: "dog"})


def by_id(corrected: Path, folder: Path) -> dict[int, tuple[str, tuple[rle.Rle | None, ...]]]:
    """The corrected file as YouTube-VIS; as COCO its ids are the same."""
    convert_data(corrected, folder / "ytvis.json", target_format="ytvis")
    convert_data(corrected, folder / "coco.json", target_format="coco")
    coco = json.loads((folder / "coco.json").read_text())
    dataset = read_ytvis(folder / "ytvis.json")
    assert dataset.videos[0].length == len(coco["images"]) == FRAMES
    assert {a["instance_id"] for a in coco["annotations"]} == {a.id for a in dataset.annotations}
    names = {category.id: category.name for category in dataset.categories}
    return {a.id: (names[a.category_id], tuple(a.segmentations)) for a in dataset.annotations}


def test_datumaro(python: str, tmp_path: Path) -> None:
    (tmp_path / "cvat" / "images").mkdir(parents=True)
    (tmp_path / "cvat" / "a.xml").write_text(result().to_cvat())
    for index in range(FRAMES):
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "cvat" / "images" / f"frame_{index:06d}.png")
    subprocess.run([python, "-c", BY_DATUMARO], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": ""})
    (corrected,) = (tmp_path / "corrected").glob("*.xml")
    tracks = by_id(corrected, tmp_path)
    assert {i: label for i, (label, _) in tracks.items()} == {3: "dog", 7: "dog"}
    cat, dog = result().tracks
    assert [mask is None for mask in tracks[7][1]] == [True, False, False, False, False, True]
    pairs = [*zip(cat.masks, tracks[3][1], strict=True), *zip(dog.masks[1:5], tracks[7][1][1:5], strict=True)]
    for mask, found in pairs:
        assert mask is not None
        assert found is not None
        assert rle.iou_matrix([mask], [found])[0, 0] >= 0.97


def test_datumaro_reads_exact_masks(python: str, tmp_path: Path) -> None:
    (tmp_path / "cvat" / "images" / "clip").mkdir(parents=True)
    (tmp_path / "cvat" / "a.xml").write_text(result().to_cvat(exact=True))
    for index in range(FRAMES):
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "cvat" / "images" / "clip" / f"{index:05d}.jpg")
    code = (
        "import datumaro\nfor item in datumaro.Dataset.import_from('cvat', 'cvat'):\n"
        "    print(*[(int(a.attributes['track_id']), int(a.get_area())) for a in item.annotations])"
    )
    said = subprocess.run(
        [python, "-c", code],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    video = result()
    for index, line in enumerate(said[-FRAMES:]):
        there = [(t.track_id, rle.area(m)) for t in video.tracks if (m := t.masks[index]) is not None]
        assert line == " ".join(map(str, there))


def test_label_studio_sdk(python: str, tmp_path: Path) -> None:
    tasks = result().to_label_studio("clip.mp4", frames_url="/data/local-files/?d=run/images/clip")
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    subprocess.run([python, "-c", BY_LABEL_STUDIO], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": ""})
    tracks = by_id(tmp_path / "corrected.json", tmp_path)
    assert {i: label for i, (label, _) in tracks.items()} == {3: "cat", 7: "dog"}
    for track in result().tracks:
        for mask, found in zip(track.masks, tracks[track.track_id][1], strict=True):
            assert (mask is None) == (found is None)
            if mask is not None:
                expected = rle.decode(mask).copy()
                if track.track_id == 3:
                    expected[40:44, 50:60] = True
                assert found is not None
                assert np.array_equal(rle.decode(found), expected)
