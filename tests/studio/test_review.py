"""Mined tracks: decisions are written back at once, and never over somebody else's."""

import io
import json

import pytest
from made_runs import SIZE, dense_tracks, write_video
from PIL import Image
from studios import only, studio

from fewmask.media import rle
from fewmask.mining.mined_video import MinedMask, MinedVideo
from fewmask.mining.review_page import read_decisions

LENGTH = 40


@pytest.fixture
def opened(tmp_path):
    video = write_video(tmp_path / "clip.mp4", LENGTH)
    folder = tmp_path / "mined"
    tracks = dense_tracks(LENGTH)
    frames = tuple(
        tuple(
            MinedMask(track, rle.encode(masks[t]), 0.5, 0.6 + 0.1 * track, 0.9, 0, None)
            for track, masks in tracks.items()
            if masks[t].any()
        )
        for t in range(0, LENGTH, 2)
    )
    mined = MinedVideo("clip", str(video), SIZE, 25.0, frames, 0.0, 0, 0, 9, frame_step=2)
    (folder / "results").mkdir(parents=True)
    mined.write(folder / "results" / "clip.json")
    (folder / "instances.json").write_text("{}")
    (folder / "manifest.json").write_text(json.dumps({"progress": {"names": ["clip"]}, "settings": {"keep_every": 2}}))
    client, _ = studio(tmp_path, folder)
    return client, only(client, "dataset"), folder


def decide(opened, track, state, was="undecided", video="clip"):
    client, dataset, _ = opened
    one = {"video": video, "track": track, "state": state, "was": was}
    return client.post(f"/api/datasets/{dataset}/decisions", json={"decisions": [one]})


def states(opened):
    return {track["track"]: track["state"] for track in opened[0].get(f"/api/datasets/{opened[1]}").json()["tracks"]}


def test_tracks_have_their_figures(opened):
    tracks = opened[0].get(f"/api/datasets/{opened[1]}").json()["tracks"]
    assert {track["track"] for track in tracks} == {1, 2, 3}
    first = tracks[0]
    assert (first["first"], first["last"], first["masks"]) == (0, 38, 20)
    assert first["confidence"] == pytest.approx((0.7 * 0.9) ** 0.5, abs=1e-4)


def test_decisions_are_written_at_once_and_taken_back(opened):
    assert decide(opened, 1, "accepted").json() == {"accepted": 1, "rejected": 0}
    decide(opened, 2, "rejected")
    decisions = read_decisions(opened[2] / "review.json")
    assert decisions.accepted == {("clip", 1)}
    assert decisions.rejected == {("clip", 2)}
    decide(opened, 1, "undecided", was="accepted")
    assert states(opened) == {1: "undecided", 2: "rejected", 3: "undecided"}


def test_two_tabs_decide_different_tracks_and_never_the_same_unseen(opened):
    assert decide(opened, 1, "accepted").status_code == 200
    assert decide(opened, 2, "rejected").status_code == 200  # a tab that does not know of the first
    answer = decide(opened, 1, "rejected")
    assert answer.status_code == 409
    assert "was accepted elsewhere" in answer.json()["error"]
    assert states(opened)[1] == "accepted"
    assert decide(opened, 1, "accepted").status_code == 200  # agreeing is no conflict


@pytest.mark.parametrize(("track", "video"), [(9, "clip"), (1, "other"), (1, "../clip")])
def test_tracks_that_are_not_there(opened, track, video):
    assert decide(opened, track, "accepted", video=video).status_code == 400
    assert not (opened[2] / "review.json").exists()
    assert opened[0].get(f"/api/datasets/{opened[1]}/{video}/{track}/picture.jpg").status_code == 404


def test_pictures_stand_and_move(opened):
    client, dataset, _ = opened
    still = Image.open(io.BytesIO(client.get(f"/api/datasets/{dataset}/clip/1/picture.jpg?width=64").content))
    assert still.size == (64, 48)
    moving = Image.open(io.BytesIO(client.get(f"/api/datasets/{dataset}/clip/1/clip.webp").content))
    assert moving.n_frames > 5


def test_the_video_is_gone(opened, tmp_path):
    (tmp_path / "clip.mp4").unlink()
    answer = opened[0].get(f"/api/datasets/{opened[1]}/clip/1/picture.jpg")
    assert answer.status_code == 400
    assert "gone" in answer.json()["error"]


def test_writing_the_reviewed_dataset_is_a_job(opened):
    client, dataset, folder = opened
    job = client.post(f"/api/datasets/{dataset}/apply", json={"only_accepted": True}).json()
    assert job["command"] == f"fewmask mine --out {folder} --review {folder / 'review.json'} --only-accepted"
    assert (folder / "review.json").exists()
