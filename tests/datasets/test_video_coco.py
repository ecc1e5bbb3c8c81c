import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from small_datasets import comparable, track_datasets, ytvis_dataset

from fewmask.datasets.coco import CocoDataset, read_coco, write_coco
from fewmask.datasets.video_coco import frames_as_pictures, pictures_as_frames, pictures_as_videos
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.errors import DatasetError

ROOT = Path()


@given(track_datasets())
def test_there_and_back_through_a_file_is_lossless(dataset: YtvisDataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coco.json"
        write_coco(frames_as_pictures(dataset, ROOT), path)
        assert comparable(pictures_as_frames(read_coco(path))) == comparable(dataset)


def test_unknown_frames_are_left_out_and_come_back_as_unknown() -> None:
    dataset = ytvis_dataset()
    pictures = frames_as_pictures(dataset, ROOT)
    assert [image.file_name for image in pictures.images] == ["v/0.jpg", "v/1.jpg", "v/2.jpg", "w/0.jpg"]
    again = pictures_as_frames(pictures)
    assert comparable(again) == comparable(dataset)
    assert again.info == dataset.info
    assert again.licenses == dataset.licenses


def test_a_frame_in_which_one_track_is_unknown_is_left_out() -> None:
    dataset = ytvis_dataset()
    first = replace(dataset.annotations[0], annotated_frames=(0,))
    pictures = frames_as_pictures(replace(dataset, annotations=(first, *dataset.annotations[1:])), ROOT)
    assert [image.file_name for image in pictures.images] == ["v/0.jpg", "w/0.jpg"]


def test_occlusion_survives() -> None:
    dataset = ytvis_dataset()
    levels = ["no_occlusion", None, "severe_occlusion"]
    first = replace(dataset.annotations[0], occlusion=levels)
    pictures = frames_as_pictures(replace(dataset, annotations=(first, *dataset.annotations[1:])), ROOT)
    assert pictures_as_frames(pictures).annotations[0].occlusion == levels


def test_pictures_of_other_tools_without_a_list_of_videos() -> None:
    pictures = frames_as_pictures(ytvis_dataset(), ROOT)
    images = tuple(replace(i, extra={"video_id": 1, "frame_index": 9 - i.id}) for i in pictures.images)
    tracks = tuple(replace(a, extra={"track_id": 4 if a.category_id == 7 else 9}) for a in pictures.annotations)
    with pytest.raises(DatasetError, match="video 1, track 4: its annotations differ in category_id or iscrowd"):
        pictures_as_frames(replace(pictures, images=images, annotations=tracks, extra={}))
    tracks = tuple(replace(a, iscrowd=False) for a in tracks)
    dataset = pictures_as_frames(replace(pictures, images=images, annotations=tracks, extra={}))
    assert dataset.videos[0].file_names == ("w/0.jpg", "v/2.jpg", "v/1.jpg", "v/0.jpg")
    assert {track.id for track in dataset.annotations} == {4, 9}


def test_every_picture_as_a_video() -> None:
    pictures = frames_as_pictures(ytvis_dataset(), ROOT)
    dataset = pictures_as_videos(pictures)
    assert [(v.id, v.length, v.file_names) for v in dataset.videos] == [
        (i.id, 1, (i.file_name,)) for i in pictures.images
    ]
    assert [t.segmentations for t in dataset.annotations] == [[a.mask] for a in pictures.annotations]


def broken(change: str) -> CocoDataset:
    pictures = frames_as_pictures(ytvis_dataset(), ROOT)
    image, track = pictures.images[0], pictures.annotations[0]
    videos: list[dict[str, Any]] = [dict(video) for video in pictures.extra["videos"]]
    match change:
        case "no video":
            image = replace(image, extra={})
        case "no frame":
            image = replace(image, extra={"video_id": 3})
        case "frame twice":
            image = replace(image, extra={"video_id": 3, "frame_id": 1})
        case "no track":
            track = replace(track, extra={})
        case "track twice":
            track = replace(track, extra={"instance_id": 12}, category_id=7, iscrowd=True)
        case "category":
            track = replace(track, category_id=7)
        case "size":
            image = replace(image, height=50)
        case "other name":
            videos[0]["file_names"] = ["x.jpg", "v/1.jpg", "v/2.jpg"]
        case "video twice":
            videos[1]["id"] = 3
        case "no pictures":
            videos.append(videos[0] | {"id": 77})
        case "escape":
            videos[0]["file_names"] = ["../x.jpg"]
    return replace(
        pictures,
        images=(image, *pictures.images[1:]),
        annotations=(track, *pictures.annotations[1:]),
        extra={"videos": videos},
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no video", "image 1: no 'video_id'"),
        ("no frame", "image 1: no 'frame_id'"),
        ("frame twice", "video 3: two pictures have the same frame number"),
        ("no track", "annotation 1: no 'instance_id'"),
        ("track twice", "video 3, track 12: two annotations in one picture"),
        ("category", "video 3, track 11: its annotations differ in category_id"),
        ("size", "video 3: its pictures differ in size"),
        ("other name", "video 3: picture 'v/0.jpg' is not frame 0 of file_names"),
        ("video twice", r"videos\[1\]: id 3 is there twice"),
        ("no pictures", "video 77: it has no pictures"),
        ("escape", r"videos\[0\]: file name '../x.jpg' leaves"),
    ],
)
def test_refusals(change: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        pictures_as_frames(broken(change))
