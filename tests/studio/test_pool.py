"""A pool to look around in: its map, nearest clips, supports chosen by a click."""

import numpy as np
import pytest
from made_runs import SIZE, write_video
from studios import only, studio

from fewmask.media.frames import open_frames
from fewmask.retrieval.pool import Pool
from fewmask.studio.library import Library
from fewmask.studio.pool_clips import PoolClips, projected

LENGTH = 150


class Brightness:
    """An embedder whose clips lie on a line by the video they come from."""

    name, dimension = "brightness", 4

    def embed(self, pictures):
        mean = pictures.reshape(len(pictures), -1).mean(1) / 255
        vectors = np.stack([np.ones_like(mean), mean, mean**2, np.zeros_like(mean)], 1).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def opened(tmp_path):
    videos = []
    for number, grey in enumerate((0, 40, 200)):
        path = tmp_path / "videos" / f"v{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        masks = {1: np.full((LENGTH, *SIZE), bool(grey))} if grey else {}
        videos.append(write_video(path, LENGTH, tracks=masks if number else None))
    pool = Pool.open(tmp_path / "pool")
    pool.add(videos, Brightness(), seconds=2.0)
    client, context = studio(tmp_path, tmp_path / "pool", tmp_path / "videos")
    return client, only(client, "pool"), context, pool


def test_the_map_has_every_clip(opened):
    client, thing, _, pool = opened
    facts = client.get(f"/api/pools/{thing}").json()
    assert facts["length"] == len(pool.index)
    ids = {f"{facts['videos'][video]['id']}#{first}-{last}" for video, first, last, _, _ in facts["clips"]}
    assert ids == set(pool.index.ids)
    assert all(0 <= x <= 1 and 0 <= y <= 1 for *_, x, y in facts["clips"])


def test_the_nearest_of_a_clip_are_what_the_index_says(opened):
    client, thing, _, pool = opened
    clip = pool.index.ids[0]
    found = client.post(f"/api/pools/{thing}/nearest", json={"clip": clip, "k": 3}).json()["clips"]
    ids, scores = pool.index.search(pool.index.vectors([clip]), 3)
    assert [one["id"] for one in found] == ids[0].tolist()
    assert [one["score"] for one in found] == pytest.approx(scores[0].tolist(), abs=1e-4)
    assert client.get(f"/api/media/{found[0]['media']}/clip.webp?first=0&last=20").status_code == 200
    assert client.post(f"/api/pools/{thing}/nearest", json={"clip": "/etc/passwd#0-1"}).status_code == 400
    assert client.post(f"/api/pools/{thing}/nearest", json={}).status_code == 400


def test_the_nearest_of_a_moment(opened):
    _, _, context, pool = opened
    clips = PoolClips(pool.index.folder)
    clips._embedder = Brightness()
    reader = context.frames.reader(next(t.path for t in context.library.all() if t.title == "v1.mp4"))
    assert clips.like_moment(reader, 60, 1)[0].score == pytest.approx(1, abs=1e-3)


def test_supports_chosen_by_a_click_are_cut_out(opened):
    client, thing, context, pool = opened
    video = next(t.id for t in context.library.all() if t.title == "v0.mp4")
    clip = pool.index.ids[-1]
    job = client.post(f"/api/pools/{thing}/segment", json={"video": video, "clips": [clip]}).json()
    words = context.jobs.get(job["number"]).words
    support = words[words.index("--support-video") + 1]
    first, last = map(int, clip.rpartition("#")[2].split("-"))
    with open_frames(support) as frames:
        assert sum(1 for _ in frames) == last - first + 1
    assert (
        client.post(f"/api/pools/{thing}/segment", json={"video": video, "clips": ["/etc/x.mp4#0-1"]}).status_code
        == 400
    )


def test_the_first_axis_is_the_one_of_most_difference():
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(200, 6)) * [1, 9, 1, 3, 1, 1]
    flat = projected(vectors)
    assert abs(np.corrcoef(flat[:, 0], vectors[:, 1])[0, 1]) > 0.95
    assert abs(np.corrcoef(flat[:, 1], vectors[:, 3])[0, 1]) > 0.9
    assert projected(np.ones((3, 5))).shape == (3, 2)
    assert projected(np.ones((1, 1))).shape == (1, 2)


def test_a_pool_is_known_by_its_files(opened, tmp_path):
    assert [thing.kind for thing in Library().open(tmp_path / "pool")] == ["pool"]
