import json

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fewmask.cli.synth import synth
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import ConfigError

app = typer.Typer()
app.command()(synth)


@pytest.fixture
def coco(tmp_path):
    (tmp_path / "images").mkdir()
    entries = []
    for image_id in (1, 2):
        picture = np.full((80, 100, 3), 120, np.uint8)
        for category, x in ((1, 20), (2, 60)):
            picture[30:50, x : x + 20] = 255 * (category == 1)
            polygon = [[x, 30, x + 20, 30, x + 20, 50, x, 50]]
            entries.append(
                {"id": len(entries) + 1, "image_id": image_id, "category_id": category, "segmentation": polygon}
            )
        cv2.imwrite(str(tmp_path / "images" / f"{image_id}.png"), picture)
    images = [{"id": i, "file_name": f"{i}.png", "height": 80, "width": 100} for i in (1, 2)]
    categories = [{"id": 1, "name": "white"}, {"id": 2, "name": "deep black"}]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": entries, "categories": categories}))
    return path


def run(coco, *more):
    out = coco.parent / "out"
    settings = ["--videos", "2", "--seed", "4", "--frames", "3", "--size", "32x48", "--objects", "1-2"]
    arguments = ["--from", str(coco), "--out", str(out), *settings, "--min-side", "10", *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False), out


def test_it_writes_and_says_where(coco):
    result, out = run(coco, "--images", str(coco.parent / "images"), "--classes", "deep black")
    assert result.exit_code == 0
    assert str(out / "instances.json") in result.stdout
    dataset = read_ytvis(out / "instances.json")
    assert [(video.height, video.width, video.length) for video in dataset.videos] == [(32, 48, 3)] * 2
    assert {annotation.category_id for annotation in dataset.annotations} == {2}
    assert (out / "JPEGImages" / "00001" / "00002.jpg").is_file()


def test_json_for_machines(coco):
    result, out = run(coco, "--json", "--hold-out-classes", "white")
    said = json.loads(result.stdout)
    assert said == {"annotations": str(out / "instances.json"), "videos": 2, "frames": 6}


@pytest.mark.parametrize(
    "wrong",
    [["--size", "32"], ["--objects", "many"], ["--object-size", "big"], ["--part", "test"], ["--occlusion", "all"]],
)
def test_malformed_options_are_told_apart_from_data(coco, wrong):
    result, out = run(coco, *wrong)
    assert result.exit_code == 2
    assert wrong[0] in result.output
    assert not out.exists()


def test_errors_are_fewmask_errors(coco):
    with pytest.raises(ConfigError, match="no class 'cat'"):
        run(coco, "--classes", "cat")
