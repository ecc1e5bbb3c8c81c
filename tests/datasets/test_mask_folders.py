from pathlib import Path

import numpy as np
import pytest
from small_datasets import comparable, mask_folders, save_labels, save_picture

from fewmask.datasets.mask_folders import read_mask_folders, read_mask_pictures, write_mask_folders
from fewmask.errors import DatasetError


def test_folders_are_videos(tmp_path: Path) -> None:
    dataset, root = read_mask_folders(mask_folders(tmp_path, videos=True), category="cell")
    assert root == tmp_path / "images"
    assert [video.file_names for video in dataset.videos] == [("a/0.jpg", "a/1.jpg"), ("b/0.jpg", "b/1.jpg")]
    assert dataset.info["object_ids"] == {"1": 255, "2": 1, "3": 2}
    assert dataset.categories[0].name == "cell"


def test_flat_pictures_are_one_video_or_pictures_of_their_own(tmp_path: Path) -> None:
    mask_folders(tmp_path, videos=False)
    dataset, _ = read_mask_folders(tmp_path)
    assert dataset.videos[0].file_names == ("a_0.jpg", "a_1.jpg", "b_0.jpg", "b_1.jpg")
    assert [(track.iscrowd, int(track.mask_areas.sum())) for track in dataset.annotations] == [
        (False, 9), (False, 18), (True, 18)]  # fmt: skip
    save_picture(tmp_path / "images/large.png", height=40)
    save_labels(tmp_path / "masks/large.png", np.full((40, 16), 5))
    save_picture(tmp_path / "images/unlabelled.jpg")
    pictures = read_mask_pictures(tmp_path)
    assert [image.file_name for image in pictures.images] == ["a_0.jpg", "a_1.jpg", "b_0.jpg", "b_1.jpg", "large.png"]
    assert [(a.image_id, a.area, a.iscrowd) for a in pictures.annotations] == [
        (1, 9, False), (2, 9, False), (3, 9, False), (3, 9, False), (4, 9, False), (5, 640, False)]  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    first, root = read_mask_folders(mask_folders(tmp_path / "a", videos=True))
    write_mask_folders(first, tmp_path / "b", frames_root=root, frames="link")
    second, again = read_mask_folders(tmp_path / "b")
    assert comparable(first) == comparable(second)
    assert (again / "a/0.jpg").samefile(root / "a/0.jpg")


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="images: folder is missing"):
        read_mask_folders(tmp_path)
    mask_folders(tmp_path, videos=False)
    save_labels(tmp_path / "masks/other.png", np.zeros((4, 4)))
    with pytest.raises(DatasetError, match=r"other.png: no frame of that name among the 4"):
        read_mask_folders(tmp_path)
    (tmp_path / "masks/other.png").unlink()
    depth = np.arange(60 * 60).reshape(60, 60).astype(np.uint16)
    save_picture(tmp_path / "images/depth.jpg", height=60, width=60)
    from PIL import Image

    Image.fromarray(depth).save(tmp_path / "masks/depth.png")
    with pytest.raises(DatasetError, match=r"depth.png: 3599 different values"):
        read_mask_pictures(tmp_path)
