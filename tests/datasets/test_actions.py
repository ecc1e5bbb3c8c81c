"""Annotation files of actions, and videos made with them: what is written is read, what is damaged is named."""

import json

import numpy as np
import pytest

from fewmask.datasets.actions import Action, ActionVideo, read_activitynet, read_thumos14, write_activitynet
from fewmask.datasets.synth_actions import FRAMES_PER_SECOND, PROGRAMS, query_video, support_video, write_made
from fewmask.errors import ConfigError, DatasetError


def test_activitynet_comes_back_as_it_was(tmp_path):
    videos = [
        ActionVideo("a", 12.5, "training", (Action("jump", 0.0, 2.5), Action("run", 1.0, 12.0))),
        ActionVideo("b", 3.0, "", ()),
    ]
    write_activitynet(tmp_path / "a.json", videos)
    assert read_activitynet(tmp_path / "a.json") == videos


def test_a_video_without_duration_is_not_written(tmp_path):
    with pytest.raises(DatasetError, match="duration"):
        write_activitynet(tmp_path / "a.json", [ActionVideo("a", None, "", ())])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"duration": 0}, "duration"),
        ({"duration": "long"}, "duration"),
        ({"annotations": [{"label": "jump"}]}, "segment"),
        ({"annotations": [{"label": "jump", "segment": [3, 2]}]}, "no length"),
        ({"annotations": [{"label": "jump", "segment": [-1, 2]}]}, "before the video"),
        ({"annotations": [{"label": 3, "segment": [1, 2]}]}, "label"),
        ({"annotations": [{"label": "jump", "segment": [1, 2, 3]}]}, "segment"),
        ({"annotations": {}}, "annotations"),
    ],
)
def test_damage_is_named(tmp_path, change, named):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": {"clip": {"duration": 9.0, "annotations": []} | change}}))
    with pytest.raises(DatasetError, match=named) as error:
        read_activitynet(path)
    assert "clip" in str(error.value)
    assert str(path) in str(error.value)


def test_a_name_does_not_leave_the_folder(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"database": {"../x": {"duration": 9.0}}}))
    with pytest.raises(DatasetError, match="leaves"):
        read_activitynet(tmp_path / "a.json")


def test_thumos14_is_gathered_by_video(tmp_path):
    (tmp_path / "HighJump_test.txt").write_text("video_test_2  5.0 6.5\nvideo_test_1  1.0 2.0\n\n")
    (tmp_path / "Diving_test.txt").write_text("video_test_1  0.5 0.9\n")
    (tmp_path / "Ambiguous_test.txt").write_text("video_test_1  7 8\n")
    (tmp_path / "Diving_val.txt").write_text("video_validation_1  0.5 0.9\n")
    assert read_thumos14(tmp_path) == [
        ActionVideo("video_test_1", None, "test", (Action("Diving", 0.5, 0.9), Action("HighJump", 1.0, 2.0))),
        ActionVideo("video_test_2", None, "test", (Action("HighJump", 5.0, 6.5),)),
    ]
    assert [video.name for video in read_thumos14(tmp_path, "val")] == ["video_validation_1"]


@pytest.mark.parametrize("line", ["video_1 1.0", "video_1 one two", "video_1 2 1", "video_1 0 nan", "../v 1 2"])
def test_a_wrong_line_of_thumos14_is_named(tmp_path, line):
    (tmp_path / "Diving_test.txt").write_text(f"video_0 1 2\n{line}\n")
    with pytest.raises(DatasetError, match="line 2"):
        read_thumos14(tmp_path)


def test_no_thumos14_in_a_folder(tmp_path):
    with pytest.raises(DatasetError, match="CLASS_test"):
        read_thumos14(tmp_path)


def test_a_made_query_moves_when_its_truth_says(tmp_path):
    made = query_video("q", "fast_shake", ["fast_shake", "slow_nod", "fast_hop"], 7)
    again = query_video("q", "fast_shake", ["fast_shake", "slow_nod", "fast_hop"], 7)
    assert (made.frames == again.frames).all()
    assert made.video == again.video
    change = np.abs(np.diff(made.frames.astype(int), axis=0)).mean((1, 2, 3))
    busy = np.zeros(len(change), bool)
    for action in made.video.actions:
        busy[round(action.start * FRAMES_PER_SECOND) : round(action.end * FRAMES_PER_SECOND) - 1] = True
    assert 130 < busy.sum() < 180
    # In idle stretches only noise and a slow drift are seen.
    assert np.median(change[busy]) > 1.1 * np.median(change[~busy])
    labels = [action.label for action in made.video.actions]
    assert sorted(labels) == ["fast_hop", "fast_shake", "fast_shake", "fast_shake", "slow_nod"]
    lengths = [action.end - action.start for action in made.video.actions]
    assert max(lengths) < 1.35 * min(lengths)  # length does not tell which are meant
    pairs = zip(made.video.actions, made.video.actions[1:], strict=False)
    assert min(b.start - a.end for a, b in pairs) >= 0.8 - 1e-9
    ends = [0.0, *[x for a in made.video.actions for x in (a.start, a.end)], made.video.duration]
    assert ends == sorted(ends)


def test_a_support_is_the_action_from_end_to_end(tmp_path):
    clips = [support_video(f"clip{number}", program, number) for number, program in enumerate(PROGRAMS[:2])]
    assert all(clip.video.actions == (Action(p, 0.0, 4.8),) for clip, p in zip(clips, PROGRAMS, strict=False))
    path = write_made(tmp_path, clips)
    assert read_activitynet(path) == [clip.video for clip in clips]
    assert len(list((tmp_path / "JPEGImages" / "clip1").iterdir())) == 48


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ConfigError, match="no program"):
        support_video("s", "slow_dance", 0)
    for others in (["fast_hop"], ["fast_hop", "slow_nod"]):
        with pytest.raises(ConfigError, match="2 other programs"):
            query_video("q", "fast_hop", others, 0)
    with pytest.raises(ConfigError, match="160 frames"):
        query_video("q", "fast_hop", PROGRAMS, 0, frames=159)
