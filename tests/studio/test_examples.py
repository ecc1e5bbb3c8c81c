"""Examples shown in the studio are supports as `segment --support` reads them."""

import numpy as np
import pytest
from made_runs import SIZE, disc, write_video
from studios import only, studio

from fewmask.media import rle
from fewmask.vipmt.support import read_support


@pytest.fixture
def opened(tmp_path):
    client, context = studio(tmp_path, write_video(tmp_path / "clip.mp4", 30))
    return client, context, only(client, "video")


def show(opened, frame, *, kind="worm", mask=None, name="worms"):
    client, _, video = opened
    counts = rle.encode(disc(SIZE, (30, 24), 6) if mask is None else mask)["counts"]
    body = {"set": name, "class_name": kind, "media": video, "frame": frame, "counts": counts}
    return client.post("/api/examples", json=body)


def test_what_was_shown_is_a_support_set(opened):
    assert show(opened, 3).status_code == 200
    assert show(opened, 17, mask=disc(SIZE, (10, 24), 4)).status_code == 200
    assert show(opened, 5, kind="not").status_code == 200
    assert show(opened, 3, mask=disc(SIZE, (50, 30), 4)).status_code == 200  # a second one in the same picture
    supports = read_support(opened[1].out / "examples" / "worms")
    assert [len(pictures) for pictures in supports.classes.values()] == [2]
    assert list(supports.classes) == ["worm"]
    assert len(supports.negatives) == 1
    first = supports.classes["worm"][0]
    np.testing.assert_array_equal(first.mask, disc(SIZE, (30, 24), 6) | disc(SIZE, (50, 30), 4))
    assert first.rgb.shape == (*SIZE, 3)


def test_pictures_are_shown_and_taken_back(opened):
    client, _, _ = opened
    (example,) = show(opened, 3).json()["sets"]["worms"]
    assert client.get(f"/api/examples/worms/worm/{example['name']}.jpg").headers["content-type"] == "image/jpeg"
    assert client.get("/api/examples/worms/worm/other.jpg").status_code == 404
    assert client.post("/api/examples/remove", json={"set": "worms", **example}).json()["sets"]["worms"] == []


def test_find_makes_a_job_per_video(opened):
    client, context, video = opened
    show(opened, 3)
    answer = client.post("/api/examples/worms/find", json={"videos": [video, video]})
    (job,) = answer.json()["jobs"]
    assert f"--support {context.out / 'examples' / 'worms'}" in job["command"]
    assert client.post("/api/examples/nothing/find", json={"videos": [video]}).status_code == 404
    assert client.post("/api/examples/worms/find", json={"videos": ["v123"]}).status_code == 404
    assert client.post("/api/examples/worms/find", json={"videos": []}).status_code == 422


def test_only_wrong_ones_find_nothing(opened):
    show(opened, 3, kind="not")
    answer = opened[0].post("/api/examples/worms/find", json={"videos": [opened[2]]})
    assert answer.status_code == 400
    assert "at least once" in answer.json()["error"]


@pytest.mark.parametrize("name", ["..", "../x", "/", "", " ", ".", "a" * 81, "\x00"])
def test_names_that_leave_the_folder(opened, name, tmp_path):
    before = sorted(path for path in tmp_path.rglob("*"))
    answer = show(opened, 3, name=name)
    assert answer.status_code in (200, 400, 422)
    made = [path for path in tmp_path.rglob("*") if path not in before and path.is_file()]
    assert all(path.is_relative_to(opened[1].out / "examples") for path in made)
    if name != "../x":
        assert answer.status_code != 200


@pytest.mark.parametrize("mask", [np.zeros(SIZE, bool), np.ones((3, 3), bool)])
def test_masks_that_cannot_be(opened, mask):
    assert show(opened, 3, mask=mask).status_code == 400
    assert show(opened, 300).status_code == 400
