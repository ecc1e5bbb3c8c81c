from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_datasets import blocks, comparable, davis_tree, save_labels, save_picture, ytvis_dataset

from fewmask.datasets.davis import read_davis, write_davis
from fewmask.errors import DatasetError
from fewmask.media import rle


def test_objects_frames_and_what_is_unknown(tmp_path: Path) -> None:
    dataset, root = read_davis(davis_tree(tmp_path))
    bear, dog = dataset.videos
    assert root == tmp_path / "JPEGImages/480p"
    assert bear.file_names == ("bear/00000.jpg", "bear/00001.jpg", "bear/00002.jpg")
    assert (bear.annotated_frames, dog.annotated_frames) == ((0, 1), None)
    first, third, animal = dataset.annotations
    assert dataset.info["object_ids"] == {"1": 1, "2": 3, "3": 255}
    assert first.segmentations[1] is None
    np.testing.assert_array_equal(rle.decode(third.segmentations[1]), blocks(0, 3) == 3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(rle.decode(animal.segmentations[0]), blocks(255) == 255)  # type: ignore[arg-type]
    assert not any(track.iscrowd for track in dataset.annotations)


def test_subset_lists_old_and_new(tmp_path: Path) -> None:
    davis_tree(tmp_path)
    names = {subset: [v.file_names[0] for v in read_davis(tmp_path, subset=subset)[0].videos]
             for subset in ("train", "val", "old")}  # fmt: skip
    assert names == {"train": ["dog/00000.jpg"], "val": ["bear/00000.jpg"], "old": ["dog/00000.jpg"]}
    with pytest.raises(DatasetError, match="no list 'test-dev'; it has old, train, val"):
        read_davis(tmp_path, subset="test-dev")


def test_255_beside_other_objects_is_void(tmp_path: Path) -> None:
    save_labels(tmp_path / "Annotations/a/0.png", blocks(1, 255))
    dataset, _ = read_davis(tmp_path)
    assert [track.iscrowd for track in dataset.annotations] == [False, True]
    assert rle.area(dataset.annotations[1].segmentations[0]) == 9  # type: ignore[arg-type]


def test_unsupervised_task_and_resolution(tmp_path: Path) -> None:
    save_picture(tmp_path / "JPEGImages/Full-Resolution/a/0.jpg")
    save_labels(tmp_path / "Annotations_unsupervised/Full-Resolution/a/0.png", blocks(1, 2))
    assert len(read_davis(tmp_path)[0].annotations) == 2
    with pytest.raises(DatasetError, match="neither JPEGImages nor Annotations_unsupervised"):
        read_davis(tmp_path, resolution="480p")
    assert read_davis(tmp_path, task="semi-supervised")[0].videos[0].annotated_frames == ()


def test_the_same_tree_comes_back(tmp_path: Path) -> None:
    first, root = read_davis(davis_tree(tmp_path / "a"))
    write_davis(first, tmp_path / "b", frames_root=root)
    second, again = read_davis(tmp_path / "b")
    assert comparable(first) == comparable(second)
    assert first.info == second.info
    for name in ("bear/00002.jpg", "dog/00001.jpg"):
        assert (root / name).read_bytes() == (again / name).read_bytes()
    assert (tmp_path / "b/ImageSets/2017/val.txt").read_text() == "bear\ndog\n"
    assert not (tmp_path / "b/Annotations/480p/bear/00002.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no frame", "00009.png: no frame of that name among the 2"),
        ("size", "label map has 5x5 pixels, its frame has 12x16"),
        ("frame size", "its size differs from that of 00000.jpg"),
        ("truncated", "not a readable picture of a mask"),
        ("picture", "not a readable picture"),
        ("escape", r"train.txt: line 1: file name '../../x' leaves"),
        ("not there", "gone: folder of frames is missing"),
        ("twice", "has the same name"),
        ("empty", "no frames there"),
    ],
)
def test_malformed_trees(tmp_path: Path, change: str, says: str) -> None:
    davis_tree(tmp_path)
    labels, frames = tmp_path / "Annotations/480p/dog", tmp_path / "JPEGImages/480p/dog"
    match change:
        case "no frame":
            save_labels(labels / "00009.png", blocks(1))
        case "size":
            save_labels(labels / "00001.png", np.ones((5, 5)))
        case "frame size":
            save_picture(frames / "00001.jpg", height=20)
        case "truncated":
            (labels / "00001.png").write_bytes((labels / "00001.png").read_bytes()[:45])
        case "picture":
            (frames / "00000.jpg").write_bytes(b"no picture")
        case "escape":
            (tmp_path / "ImageSets/2017/train.txt").write_text("../../x\n")
        case "not there":
            (tmp_path / "ImageSets/2017/train.txt").write_text("gone\n")
        case "twice":
            save_picture(frames / "00000.bmp")
        case "empty":
            for path in (*frames.iterdir(), *labels.iterdir()):
                path.unlink()
    with pytest.raises(DatasetError, match=says) as caught:
        read_davis(tmp_path, subset="train")
    assert "\n" not in str(caught.value)


def test_overlap_and_missing_frames_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    dataset = ytvis_dataset()
    with pytest.raises(DatasetError, match=r"v/0.jpg: frame of video 3 is missing; say where .* --frames-root"):
        write_davis(dataset, tmp_path / "out", frames_root=tmp_path)
    overlapping = dataset.annotations[0].segmentations[0]
    dataset.annotations[1].segmentations[0] = overlapping
    with pytest.raises(DatasetError, match="video v, frame 0: objects 1 and 255 overlap"):
        write_davis(dataset, tmp_path / "out", frames_root=tmp_path, frames="none")
    assert list(tmp_path.iterdir()) == []
    write_davis(dataset, tmp_path / "out", frames_root=tmp_path, frames="none", smaller_on_top=True)
    with pytest.raises(DatasetError, match="exists already"):
        write_davis(dataset, tmp_path / "out", frames_root=tmp_path, frames="none", smaller_on_top=True)


def test_a_frame_with_an_unknown_object_gets_no_label_map(tmp_path: Path) -> None:
    dataset = ytvis_dataset()
    first = replace(dataset.annotations[0], annotated_frames=(0, 1))
    write_davis(replace(dataset, annotations=(first, *dataset.annotations[1:])), tmp_path / "out",
                frames_root=tmp_path, frames="none")  # fmt: skip
    assert sorted(path.name for path in tmp_path.glob("out/Annotations/480p/v/*")) == ["0.png", "1.png"]


def test_sixteen_bit_maps_have_no_void(tmp_path: Path) -> None:
    (tmp_path / "a/Annotations/v").mkdir(parents=True)
    Image.fromarray(blocks(1, 255).astype(np.uint16)).save(tmp_path / "a/Annotations/v/0.png")
    first, root = read_davis(tmp_path / "a")
    assert [track.iscrowd for track in first.annotations] == [False, False]
    write_davis(first, tmp_path / "b", frames_root=root, frames="none")
    second, _ = read_davis(tmp_path / "b")
    assert comparable(second) == comparable(first)
    assert second.info == first.info
