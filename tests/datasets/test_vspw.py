import json
from pathlib import Path

import numpy as np
import pytest
from small_datasets import blocks, comparable, save_labels, vspw_tree

from fewmask.datasets import mini_vspw
from fewmask.datasets.episodes import episodes
from fewmask.datasets.presence import presence_of, video_names
from fewmask.datasets.vspw import read_vspw, vspw_label_maps, write_vspw
from fewmask.errors import DatasetError
from fewmask.media import rle


def test_one_track_per_class_and_video(tmp_path: Path) -> None:
    dataset, root = read_vspw(vspw_tree(tmp_path))
    assert root == tmp_path / "data"
    assert [(c.id, c.name) for c in dataset.categories] == [(57, "airplane"), (61, "person")]
    assert [video.file_names[0] for video in dataset.videos] == ["7_a/origin/00000000.jpg", "10_b/origin/00000000.jpg"]
    assert [(track.video_id, track.category_id) for track in dataset.annotations] == [(1, 57), (1, 61), (2, 61)]
    person = dataset.annotations[1]
    assert person.segmentations[0] is None
    np.testing.assert_array_equal(rle.decode(person.segmentations[1]), blocks(57, 61) == 61)  # type: ignore[arg-type]
    assert video_names(dataset) == {1: "7_a", 2: "10_b"}
    assert presence_of(dataset) == {57: {"7_a": [0, 1]}, 61: {"7_a": [1], "10_b": [0]}}
    assert len(read_vspw(tmp_path, subset="val")[0].videos) == 1


def test_round_trip(tmp_path: Path) -> None:
    first, root = read_vspw(vspw_tree(tmp_path / "a"))
    write_vspw(first, tmp_path / "b", frames_root=root, subset="train")
    second, _ = read_vspw(tmp_path / "b", subset="train")
    assert comparable(first) == comparable(second)


def test_streaming_listing_gives_episodes(tmp_path: Path) -> None:
    root = vspw_tree(tmp_path)
    big = np.full((12, 16), 61, dtype=np.uint8)
    for name in ("x", "y", "z"):
        save_labels(root / "data" / name / "mask" / "00000000.png", big, palette=False)
    found = mini_vspw.list_frames(vspw_label_maps(root), mini_vspw.classes(3, "test"))
    assert found[61] == {"x": [0], "y": [0], "z": [0]}  # the others have 9 pixels of the class
    made = episodes(found, fold=3, classes=[61], runs=[0], shots=2)
    assert [episode.query for episode in made] == ["x", "y", "z"]


def test_tracks_of_one_class_are_refused(tmp_path: Path) -> None:
    dataset, root = read_vspw(vspw_tree(tmp_path / "a"))
    object.__setattr__(dataset.annotations[1], "category_id", 57)
    with pytest.raises(DatasetError, match="video 1: tracks 1 and 2 are of one class"):
        write_vspw(dataset, tmp_path / "b", frames_root=root)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"airplane": 57}, "7_a: label 61 is not in label_num_dic_final.json"),
        ({"airplane": 57, "plane": 57}, "'airplane' and 'plane' have the same id 57"),
        ({"airplane": "57"}, "'airplane' is '57'"),
    ],
)
def test_malformed_names(tmp_path: Path, names: dict[str, object], says: str) -> None:
    vspw_tree(tmp_path)
    (tmp_path / "label_num_dic_final.json").write_text(json.dumps(names))
    with pytest.raises(DatasetError, match=says):
        read_vspw(tmp_path)


def test_missing_folders_and_lists(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="folder 'data' is missing"):
        read_vspw(tmp_path)
    vspw_tree(tmp_path)
    with pytest.raises(DatasetError, match=r"train.txt: list of videos cannot be read"):
        read_vspw(tmp_path, subset="train")
    with pytest.raises(DatasetError, match="leaves the dataset folder"):
        read_vspw(tmp_path, subset="../secret")
    (tmp_path / "val.txt").write_text("nowhere\n")
    with pytest.raises(DatasetError, match=r"nowhere/origin: folder cannot be read"):
        read_vspw(tmp_path, subset="val")
