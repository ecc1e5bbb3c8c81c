"""Every block of the guides to segmenting and training runs as it stands."""

import json
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from moving_squares import write_video
from PIL import Image

from fewmask.cli import main as command
from fewmask.datasets.coco import CocoDataset, CocoImage, annotation_of, read_coco, write_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.media import rle
from fewmask.minvis.train import MinvisRecipe

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with everything the guides speak of."""
    monkeypatch.chdir(tmp_path)
    write_video("video.mp4", 6)
    (tmp_path / "mine" / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(1, 11):
        mask = np.zeros((64, 96), dtype=bool)
        mask[10:40, 5 * i : 5 * i + 30] = True
        Image.fromarray(np.where(mask[..., None], 220, 30).astype(np.uint8).repeat(3, 2)).save(f"mine/images/{i}.png")
        images.append(CocoImage(i, f"{i}.png", 64, 96))
        annotations.append(annotation_of(rle.encode(mask), annotation_id=i, image_id=i, category_id=1))
    write_coco(CocoDataset(tuple(images), tuple(annotations), {1: "thing"}, Path("mine/images")), "mine/instances.json")
    return tmp_path


def run(line, monkeypatch):
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 0, line


def test_the_guide_to_training(place, monkeypatch):
    own, from_nothing = blocks("train.md", "toml")
    assert tomllib.loads(own) == tomllib.loads((DOCS.parent / "recipes" / "minvis" / "own_pictures.toml").read_text())
    MinvisRecipe.model_validate(tomllib.loads(from_nothing))
    (place / "recipe.toml").write_text(
        own.replace("steps = 600", "steps = 1").replace("[[224, 320], [288, 256]]", "[[64, 96]]")
    )
    for block in blocks("train.md", "bash"):
        run(block, monkeypatch)
    assert (place / "runs" / "mine" / "figures.json").is_file()
    assert (place / "out" / "mine" / "tracks.json").is_file()


def test_the_guide_to_segmenting(place, monkeypatch):
    for block in blocks("segment.md", "bash"):
        if "convert-data" in block:  # nothing was corrected
            shutil.copy("out/annotate/cvat.xml", "out/annotate/annotations.xml")
            shutil.copy("out/annotate/label_studio.json", "out/annotate/labels.json")
        for line in block.strip().splitlines():
            run(line, monkeypatch)
    ids = {track["track_id"] for track in json.loads(Path("out/annotate/tracks.json").read_text())}
    back = read_ytvis("out/annotate/corrected.json")
    assert {annotation.id for annotation in back.annotations} <= ids
    assert len(read_coco("out/annotate/pictures.json").images) == 6
    assert {p.name for p in (place / "out" / "annotate").iterdir()} >= {"cvat.xml", "label_studio.json", "coco.json"}
    for block in blocks("segment.md", "python"):
        exec(block, {})


def test_the_page_on_inputs(place, capsys):
    (block,) = blocks("inputs.md", "python")
    exec(block, {})
    assert capsys.readouterr().out.splitlines() == [
        "(48, 64) 3 [0, 1, 2]", "(48, 64) 3 [0, 1, 2]", "(48, 64) None [0, 1, 2]", "(48, 64) 1 [0]",
    ]  # fmt: skip
