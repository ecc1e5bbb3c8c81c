"""Small datasets of every format, written to a folder, for the tests of readers, writers and converters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from PIL import Image

from fewmask.datasets.ytvis_types import (
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
)
from fewmask.media import rle

HEIGHT, WIDTH = 12, 16


def save_picture(path: Path, *, height: int = HEIGHT, width: int = WIDTH, shade: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), shade, dtype=np.uint8)).save(path)


def save_labels(path: Path, labels: npt.NDArray[Any], *, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    if palette:
        image.putpalette(bytes(range(256)) * 3)
    image.save(path)


def blocks(*values: int) -> npt.NDArray[np.uint8]:
    """A label map with a 3x3 block of each value, side by side."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for index, value in enumerate(values):
        labels[2 + index : 5 + index, 4 * index : 4 * index + 3] = value
    return labels


def davis_tree(root: Path) -> Path:
    """Two videos: "bear" with objects 1 and 3, unlabelled in its last frame; "dog" with 0/255 masks."""
    maps = {
        "bear": [blocks(1, 3), blocks(0, 3), None],
        "dog": [blocks(255), blocks(0)],
    }
    for name, labels in maps.items():
        for frame, label_map in enumerate(labels):
            save_picture(root / "JPEGImages/480p" / name / f"{frame:05d}.jpg", shade=frame * 20)
            if label_map is not None:
                path = root / "Annotations/480p" / name / f"{frame:05d}.png"
                save_labels(path, label_map, palette=name == "bear")
    lists = root / "ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("dog\n")
    (lists / "val.txt").write_text("bear\n\n")
    old = root / "ImageSets/480p"
    old.mkdir()
    (old / "old.txt").write_text(
        "/JPEGImages/480p/dog/00000.jpg /Annotations/480p/dog/00000.png\n"
        "/JPEGImages/480p/dog/00001.jpg /Annotations/480p/dog/00001.png\n"
    )
    return root


def vspw_tree(root: Path) -> Path:
    for name, labels in {"7_a": [blocks(57, 255), blocks(57, 61)], "10_b": [blocks(61)]}.items():
        for frame, label_map in enumerate(labels):
            save_picture(root / "data" / name / "origin" / f"{frame:08d}.jpg")
            save_labels(root / "data" / name / "mask" / f"{frame:08d}.png", label_map, palette=False)
    (root / "val.txt").write_text("10_b\n")
    names = {"others": 0, "airplane": 57, "person": 61, "void": 255}
    (root / "label_num_dic_final.json").write_text(json.dumps(names))
    return root


def mask_folders(root: Path, *, videos: bool) -> Path:
    for name, labels in {"a": [blocks(255), blocks(255)], "b": [blocks(1, 2), blocks(2)]}.items():
        for frame, label_map in enumerate(labels):
            stem = f"{name}/{frame}" if videos else f"{name}_{frame}"
            save_picture(root / "images" / f"{stem}.jpg")
            save_labels(root / "masks" / f"{stem}.png", label_map, palette=False)
    return root


def labelme_folder(root: Path) -> Path:
    shapes = [
        [
            {"label": "cat", "points": [[1, 1], [6, 1], [6, 6], [1, 6]], "group_id": 4, "shape_type": "polygon"},
            {"label": "cat", "points": [[8, 8], [11, 10]], "group_id": 4, "shape_type": "rectangle"},
            {"label": "ball", "points": [[10, 4], [12, 4]], "group_id": 0, "shape_type": "circle"},
        ],
        [{"label": "cat", "points": [[2, 2], [7, 2], [7, 7]], "group_id": 4, "shape_type": "polygon", "flags": {}}],
    ]
    for frame, found in enumerate(shapes):
        save_picture(root / f"clip/{frame}.jpg")
        document = {
            "version": "5.5.0",
            "flags": {},
            "shapes": found,
            "imagePath": f"{frame}.jpg",
            "imageData": "bm90IGEgcGljdHVyZQ==",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        (root / f"clip/{frame}.json").write_text(json.dumps(document))
    return root


def ytvis_dataset() -> YtvisDataset:
    """Two videos, three tracks of two classes, one crowd; the second video is labelled in its first frame only."""

    def mask(value: int) -> rle.Rle:
        return rle.encode(blocks(1, 2, 3) == value)

    videos = (
        YtvisVideo(3, WIDTH, HEIGHT, 3, ("v/0.jpg", "v/1.jpg", "v/2.jpg")),
        YtvisVideo(5, WIDTH, HEIGHT, 2, ("w/0.jpg", "w/1.jpg"), (0,)),
    )
    tracks = (
        annotation_from_masks(id=11, video_id=3, category_id=2, segmentations=[mask(1), None, mask(1)]),
        annotation_from_masks(id=12, video_id=3, category_id=7, segmentations=[mask(2), mask(2), None], iscrowd=True),
        annotation_from_masks(id=20, video_id=5, category_id=7, segmentations=[mask(3), None]),
    )
    categories = (YtvisCategory(2, "dog", "animal"), YtvisCategory(7, "cup"))
    return YtvisDataset(videos, categories, tracks, info={"year": 2026}, licenses=({"id": 1},))


@st.composite
def track_datasets(draw: st.DrawFn, *, disjoint: bool = False) -> YtvisDataset:
    """Any dataset of tracks; ``disjoint``: no two masks of a frame overlap, and there is one class."""
    videos: list[YtvisVideo] = []
    tracks: list[YtvisAnnotation] = []
    classes = 1 if disjoint else draw(st.integers(1, 3))
    for video_id in draw(st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True)):
        height, width, length = (draw(st.integers(1, most)) for most in (7, 9, 4))
        frames = draw(st.one_of(st.none(), st.sets(st.integers(0, length - 1), min_size=1, max_size=length)))
        known = None if frames is None or len(frames) == length else tuple(sorted(frames))
        names = tuple(f"video {video_id}/{frame:03d}.jpg" for frame in range(length))
        videos.append(YtvisVideo(video_id, width, height, length, names, known))
        seed = draw(st.integers(0, 2**16))
        numbers = np.random.default_rng(seed)
        count = draw(st.integers(0, 4))
        owner = numbers.integers(0, count + 1, (length, height, width))
        for number in range(1, count + 1):
            inside = owner == number if disjoint else numbers.random((length, height, width)) < 0.3
            labelled = range(length) if known is None else known
            masks = [
                rle.encode(inside[frame]) if frame in labelled and inside[frame].any() else None
                for frame in range(length)
            ]
            if any(masks):
                tracks.append(
                    annotation_from_masks(
                        id=len(tracks) + 1,
                        video_id=video_id,
                        category_id=int(numbers.integers(1, classes + 1)),
                        segmentations=masks,
                        iscrowd=False if disjoint else bool(numbers.integers(0, 2)),
                    )
                )
    categories = tuple(YtvisCategory(key, "object" if disjoint else f"class {key}") for key in range(1, classes + 1))
    return YtvisDataset(tuple(videos), categories, tuple(tracks))


def comparable(dataset: YtvisDataset) -> dict[str, Any]:
    """What two datasets must share to be the same, whatever file they came from."""
    return {
        "videos": dataset.videos,
        "categories": dataset.categories,
        "tracks": [
            (
                track.id,
                track.video_id,
                track.category_id,
                track.iscrowd,
                track.segmentations,
                track.mask_areas.tolist(),
                track.areas,
                track.bboxes,
                track.occlusion,
                track.annotated_frames,
            )
            for track in dataset.annotations
        ],
    }
