"""Groups of tracks, and which of them are taught."""

import json

import numpy as np
import pytest

from fewmask.errors import ConfigError
from fewmask.pipelines.grow.group_choice import GroupChoice, choose, read_choice
from fewmask.pipelines.grow.groups import cluster, resembling


def _unit(vectors):
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _kinds(counts, *, noise=0.05, stray=5, seed=0):
    """Tracks of several kinds around directions of their own, and strays around none; labels, -1 for strays."""
    random = np.random.default_rng(seed)
    centres = _unit(random.normal(size=(len(counts), 64)))
    labels = np.repeat(np.arange(len(counts)), counts)
    vectors = centres[labels] + noise * random.normal(size=(len(labels), 64))
    vectors = np.concatenate([vectors, random.normal(size=(stray, 64))])
    return _unit(vectors), np.concatenate([labels, np.full(stray, -1)])


def test_clusters_are_the_kinds_and_strays_are_in_none():
    vectors, labels = _kinds([12, 8, 6])
    videos = [f"v{place % 4}" for place in range(len(labels))]
    groups = cluster(vectors, [0.8] * len(labels), videos)
    found = sorted(tuple(sorted(group.members)) for group in groups)
    assert found == sorted(tuple(np.flatnonzero(labels == kind)) for kind in range(3))
    assert [group.number for group in groups] == [1, 2, 3]
    assert [len(group.members) for group in groups] == [12, 8, 6]  # equal but for size: the largest is worth most
    assert groups[0].videos == 4


def test_the_first_member_is_the_medoid():
    vectors, _ = _kinds([15, 9], noise=0.1)
    for group in cluster(vectors, [0.5] * len(vectors), ["v"] * len(vectors)):
        own = vectors[list(group.members)]
        to_others = (own @ own.T).sum(1)
        assert to_others[0] == pytest.approx(to_others.max())


def test_confidence_and_videos_decide_between_groups_of_one_size():
    vectors, labels = _kinds([8, 8], stray=0)
    confidences = [0.9 if label else 0.3 for label in labels]
    best = cluster(vectors, confidences, ["v"] * 16)[0]
    assert set(best.members) == set(np.flatnonzero(labels == 1))
    videos = [f"v{place}" if not label else "one" for place, label in enumerate(labels)]
    best = cluster(vectors, [0.5] * 16, videos)[0]
    assert set(best.members) == set(np.flatnonzero(labels == 0))


def test_too_few_tracks_are_no_groups():
    assert cluster(_kinds([5], stray=0)[0], [1.0] * 5, ["v"] * 5) == []
    with pytest.raises(ConfigError, match="smallest"):
        cluster(_kinds([9])[0], [1.0] * 14, ["v"] * 14, smallest=1)


def test_a_hint_finds_its_kind_alone():
    vectors, labels = _kinds([10, 10, 20])
    hint = vectors[labels == 1][:2]
    (group,) = resembling(vectors, hint, [0.5] * len(labels), ["v"] * len(labels), name="dog")
    assert set(group.members) == set(np.flatnonzero(labels == 1))
    assert group.name == "dog"
    assert list(group.likeness) == sorted(group.likeness, reverse=True)


def test_without_tracks_a_hint_finds_nothing():
    nothing = np.zeros((0, 64), np.float32)
    assert resembling(nothing, _kinds([3])[0], [], [], name="dog") == []


@pytest.fixture
def groups():
    vectors, labels = _kinds([12, 8, 6])
    return cluster(vectors, [0.8] * len(labels), [f"v{place % 4}" for place in range(len(labels))])


def test_by_default_the_best_are_taught(groups):
    choice = choose(groups, most=2)
    assert [group.number for group in choice.taught] == [1, 2]
    assert [group.number for group in choice.others] == [3]


def test_groups_of_one_video_are_not_taught_unasked():
    vectors, labels = _kinds([12, 8])
    alone = cluster(vectors, [0.8] * len(labels), ["one"] * len(labels))
    assert not choose(alone).taught
    assert [group.number for group in choose(alone, GroupChoice(pick=[2])).taught] == [2]


def test_picked_merged_named(groups):
    choice = choose(groups, GroupChoice(merge=[[1, 3]], pick=[1], names={1: "dog"}))
    (group,) = choice.taught
    assert group.name == "dog"
    assert len(group.members) == 18
    assert list(group.likeness) == sorted(group.likeness, reverse=True)
    assert [other.number for other in choice.others] == [2]


def test_dropped(groups):
    assert [group.number for group in choose(groups, GroupChoice(drop=[1])).taught] == [2, 3]


def test_a_group_that_is_not_there(groups):
    with pytest.raises(ConfigError, match="group 7 is not there; the groups are 1 to 3"):
        choose(groups, GroupChoice(pick=[7]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "JSON"),
        ('{"pick": "1"}', "pick"),
        ('{"peck": [1]}', "peck"),
        ("[1]", "valid dictionary|object"),
        ('{"names": {"x": "dog"}}', "names"),
    ],
)
def test_bad_choice_files(tmp_path, text, says):
    path = tmp_path / "choice.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        read_choice(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_choice_file(tmp_path):
    path = tmp_path / "choice.json"
    path.write_text(json.dumps({"merge": [[1, 4]], "pick": [1], "names": {"1": "dog"}}))
    assert read_choice(path) == GroupChoice(merge=[[1, 4]], pick=[1], names={1: "dog"})
