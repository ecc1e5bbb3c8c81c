"""A run as the page sees it: masks by stretch, the timeline, corrections with their conflicts, exact frames."""

import base64
import io
import itertools
import json
from fractions import Fraction

import av
import numpy as np
import pytest
from made_runs import SIZE, dense_tracks, disc, number_of, numbered, write_run, write_video
from PIL import Image
from studios import only, studio

from fewmask.media import rle

LENGTH = 150


@pytest.fixture
def tracks():
    return dense_tracks(LENGTH)


@pytest.fixture
def opened(tmp_path, tracks):
    video = write_video(tmp_path / "clip.mp4", LENGTH, tracks=tracks)
    folder = write_run(tmp_path / "run", tracks, source=video, names=("cell", "dog"))
    client, context = studio(tmp_path, folder)
    return client, only(client, "run"), folder, context


def test_masks_by_stretch(opened, tracks):
    client, run, _, _ = opened
    for first, count in ((0, 64), (64, 64), (128, 64), (30, 7)):
        answer = client.get(f"/api/runs/{run}/masks?first={first}&count={count}").json()
        for track, masks in tracks.items():
            counts = answer["tracks"].get(str(track), [None] * len(masks[first : first + count]))
            for mask, text in zip(masks[first : first + count], counts, strict=True):
                found = np.zeros(SIZE, bool) if text is None else rle.decode({"size": list(SIZE), "counts": text})
                np.testing.assert_array_equal(found, mask)
    assert client.get(f"/api/runs/{run}/masks?first=0&count=257").status_code == 422
    assert client.get(f"/api/runs/{run}/masks?first=-1").status_code == 422


@pytest.mark.parametrize(
    ("first", "last", "buckets"), [(0, LENGTH - 1, 1024), (0, LENGTH - 1, 10), (20, 60, 7), (5, 5, 4)]
)
def test_timeline_has_every_frame(opened, tracks, first, last, buckets):
    client, run, _, _ = opened
    answer = client.get(f"/api/runs/{run}/timeline?first={first}&last={last}&buckets={buckets}").json()
    edges = np.linspace(0, last - first + 1, answer["buckets"] + 1).round().astype(int)
    for track, masks in tracks.items():
        there = masks[first : last + 1].any((1, 2))
        shares = [there[a:b].mean() for a, b in itertools.pairwise(edges)]
        found = np.frombuffer(base64.b64decode(answer["tracks"][str(track)]["there"]), np.uint8)
        np.testing.assert_array_equal(found, np.ceil(255 * np.array(shares)).astype(np.uint8))


def test_two_tabs(opened):
    client, run, _, _ = opened
    route = f"/api/runs/{run}/corrections"
    first = client.post(route, json={"based_on": 0, "edit": {"kind": "merge", "into": 1, "other": 2}})
    assert first.status_code == 200
    assert first.json()["version"] == 1
    second = client.post(route, json={"based_on": 0, "edit": {"kind": "delete", "track": 3}})
    assert second.status_code == 409
    assert "changed elsewhere" in second.json()["error"]
    assert [track["id"] for track in client.get(f"/api/runs/{run}").json()["tracks"]] == [1, 3]
    assert client.post(route, json={"based_on": 1, "edit": {"kind": "delete", "track": 3}}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {}, {"based_on": 0}, {"based_on": 0, "edit": {}}, {"based_on": 0, "edit": {"kind": "x"}}, [], "text",
        {"based_on": 0, "edit": {"kind": "merge", "into": 1, "other": 99}},
        {"based_on": 0, "edit": {"kind": "mask", "track": 1, "frame": 0, "counts": "!!"}},
        {"based_on": 0, "edit": {"kind": "mask", "track": 1, "frame": 10**12, "counts": None}},
        {"based_on": 0, "edit": {"kind": "set-class", "track": 1, "name": "x" * 1000}},
    ],
)  # fmt: skip
def test_what_is_no_correction_is_refused_in_one_line(opened, body):
    client, run, folder, _ = opened
    answer = client.post(f"/api/runs/{run}/corrections", json=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert not (folder / "corrections.jsonl").exists()


def test_corrections_come_out_of_the_export(opened, tracks):
    client, run, _folder, _ = opened
    route = f"/api/runs/{run}/corrections"
    drawn = rle.encode(disc(SIZE, (30, 20), 5))
    client.post(route, json={"based_on": 0, "edit": {"kind": "merge", "into": 1, "other": 2}})
    client.post(route, json={"based_on": 1, "edit": {"kind": "split", "track": 1, "frame": 50}})
    answer = client.post(
        route, json={"based_on": 2, "edit": {"kind": "mask", "track": 4, "frame": 60, "counts": drawn["counts"]}}
    )
    assert answer.json()["version"] == 3
    written = client.post(f"/api/runs/{run}/export", json={"format": "ytvis"}).json()
    entries = json.loads(client.get(f"/api/runs/{run}/exports/{written['file']}").text)
    both = tracks[1] | tracks[2]
    assert len(entries) == 3
    masks = [[None if m is None else rle.decode(m) for m in entry["segmentations"]] for entry in entries]
    for frame in range(LENGTH):
        wanted = both[frame] if frame < 50 else np.zeros(SIZE, bool)
        np.testing.assert_array_equal(wanted if masks[0][frame] is None else masks[0][frame], wanted)
    np.testing.assert_array_equal(masks[2][60], rle.decode(drawn))
    assert next(step["what"] for step in client.get(f"/api/runs/{run}/history").json()) == "#2 merged into #1"
    assert client.post(f"/api/runs/{run}/export", json={"format": "exe"}).status_code == 400


def test_frames_are_exact_in_any_order(opened):
    client, run, _, _ = opened
    media = client.get(f"/api/runs/{run}").json()["media"]
    assert media["length"] == LENGTH
    chance = np.random.default_rng(0)
    for index in [0, 149, 1, 75, 74, 76, *chance.integers(0, LENGTH, 15).tolist()]:
        answer = client.get(f"/api/media/{media['id']}/frame/{index}.jpg")
        assert number_of(np.asarray(Image.open(io.BytesIO(answer.content)))) == index
    assert client.get(f"/api/media/{media['id']}/frame/150.jpg").status_code == 400
    small = client.get(f"/api/media/{media['id']}/frame/3.jpg?width=32")
    assert Image.open(io.BytesIO(small.content)).size == (32, 24)


def test_the_video_comes_by_ranges(opened):
    client, run, folder, _ = opened
    media = client.get(f"/api/runs/{run}").json()["media"]
    whole = (folder.parent / "clip.mp4").read_bytes()
    answer = client.get(f"/api/media/{media['id']}/video", headers={"range": "bytes=10-99"})
    assert answer.status_code == 206
    assert answer.content == whole[10:100]
    assert answer.headers["content-type"] == "video/mp4"


def test_a_moving_thumbnail(opened):
    client, run, _, _ = opened
    media = client.get(f"/api/runs/{run}").json()["media"]
    clip = Image.open(io.BytesIO(client.get(f"/api/media/{media['id']}/clip.webp?first=10&last=60").content))
    assert clip.n_frames > 5


def test_pictures_of_a_folder_are_a_video(tmp_path):
    for index in (2, 10, 1):
        folder = tmp_path / "frames"
        folder.mkdir(exist_ok=True)
        Image.fromarray(numbered(index, SIZE)).save(folder / f"frame{index}.png")
    client, _ = studio(tmp_path, folder)
    thing = only(client, "video")
    assert client.get(f"/api/media/{thing}").json()["length"] == 3
    for place, index in enumerate((1, 2, 10)):
        answer = client.get(f"/api/media/{thing}/frame/{place}.jpg")
        assert number_of(np.asarray(Image.open(io.BytesIO(answer.content)))) == index


def test_a_broken_run_is_one_line(opened):
    client, run, folder, context = opened
    context.runs.forget(folder)
    (folder / "tracks.json").write_text("[\n{")
    answer = client.get(f"/api/runs/{run}")
    assert answer.status_code == 400
    assert "tracks.json" in answer.json()["error"]


def test_frames_and_times_where_the_rate_varies(tmp_path):
    """Frames that last unequally long are still told apart, and their times are those of the file."""
    path, ticks = tmp_path / "vfr.mp4", np.cumsum([0, *np.random.default_rng(0).integers(1, 9, 59)]).tolist()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 50)
        for index, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(index, (240, 320)), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 50)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    client, _ = studio(tmp_path, path)
    thing = only(client, "video")
    facts = client.get(f"/api/media/{thing}").json()
    assert facts["length"] == 60
    assert not facts["steady"]
    times = np.frombuffer(client.get(f"/api/media/{thing}/times").content, "<f8")
    np.testing.assert_allclose(times, np.array(ticks) / 50, atol=1e-6)
    for index in (59, 0, 31, 30, 58, 7):
        picture = Image.open(io.BytesIO(client.get(f"/api/media/{thing}/frame/{index}.jpg").content))
        assert number_of(np.asarray(picture)) == index
