import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewmask.datasets.coco import read_coco, write_coco
from fewmask.errors import DatasetError
from fewmask.media import rle


def document() -> dict[str, Any]:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3:9] = True
    return {
        "images": [
            {"id": 7, "file_name": "a/b.jpg", "height": 10, "width": 12, "all80": True},
            {"id": 8, "file_name": "c.jpg", "height": 20, "width": 30},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "segmentation": [[3, 2, 9, 2, 9, 5, 3, 5]]},
            {"id": 2, "image_id": 7, "category_id": 3, "iscrowd": 1, "segmentation": rle.encode(mask)},
            {
                "id": 3,
                "image_id": 8,
                "category_id": 3,
                "segmentation": {"size": [20, 30], "counts": [100, 50, 450]},
                "area": 50,
                "bbox": [5, 0, 3, 20],
                "score": 0.5,
            },
        ],
    }


def written(folder: Path, value: dict[str, Any]) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(value))
    return path


def test_three_forms_of_mask_are_read(tmp_path: Path) -> None:
    dataset = read_coco(written(tmp_path, document()))
    polygon, compressed, runs = dataset.annotations
    expected = np.zeros((10, 12), dtype=bool)
    expected[2:5, 3:9] = True
    np.testing.assert_array_equal(rle.decode(polygon.mask), expected)
    np.testing.assert_array_equal(rle.decode(compressed.mask), expected)
    assert rle.area(runs.mask) == 50
    assert polygon.area == 18
    assert polygon.bbox == (3, 2, 6, 3)
    assert (polygon.iscrowd, compressed.iscrowd, runs.iscrowd) == (False, True, False)
    assert runs.extra == {"score": 0.5}
    assert dataset.images[0].extra == {"all80": True}
    assert dataset.categories == {1: "cat", 3: "dog"}
    assert [a.id for a in dataset.annotations_of[7]] == [1, 2]
    assert dataset.path_of(dataset.images[0]) == tmp_path / "a/b.jpg"


def test_round_trip_is_lossless(tmp_path: Path) -> None:
    first = read_coco(written(tmp_path, document()))
    write_coco(first, tmp_path / "again.json")
    assert read_coco(tmp_path / "again.json") == first


def broken(change: str) -> dict[str, Any]:
    value = document()
    images, annotations = value["images"], value["annotations"]
    match change:
        case "missing key":
            del annotations[0]["image_id"]
        case "unknown category":
            annotations[1]["category_id"] = 99
        case "unknown image":
            annotations[1]["image_id"] = 99
        case "twice":
            annotations[2]["id"] = 1
        case "image twice":
            images[1]["id"] = 7
        case "category twice":
            value["categories"][1]["id"] = 1
        case "escape":
            images[0]["file_name"] = "../../etc/passwd"
        case "absolute":
            images[0]["file_name"] = "/etc/passwd"
        case "drive":
            images[0]["file_name"] = "C:\\x.jpg"
        case "size":
            annotations[1]["segmentation"]["size"] = [12, 10]
        case "cut rle":
            annotations[1]["segmentation"]["counts"] = annotations[1]["segmentation"]["counts"][:-1]
        case "endless rle":
            annotations[1]["segmentation"]["counts"] = "o" * 50
        case "text rle":
            annotations[1]["segmentation"]["counts"] = "é"
        case "runs":
            annotations[2]["segmentation"]["counts"] = [1, 2]
        case "nan":
            annotations[0]["segmentation"][0][2] = float("nan")
        case "far":
            annotations[0]["segmentation"][0][2] = 1e9
        case "two points":
            annotations[0]["segmentation"] = [[1, 2, 3, 4]]
        case "no polygon":
            annotations[0]["segmentation"] = []
        case "huge image":
            images[0]["height"] = 10**9
        case "huge integer":
            annotations[0]["id"] = 10**400
        case "list":
            value["images"] = [3]
    return value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing key", r"annotations\[0\] \(id 1\): key 'image_id' is missing"),
        ("unknown category", r"annotations\[1\] \(id 2\): category_id 99 is not among"),
        ("unknown image", r"annotations\[1\] \(id 2\): image_id 99 is not among"),
        ("twice", "annotations: id 1 is there twice"),
        ("image twice", "images: id 7 is there twice"),
        ("category twice", r"categories\[1\]: id 1 is there twice"),
        ("escape", r"images\[0\] \(id 7\): file name '../../etc/passwd' leaves"),
        ("absolute", "leaves the dataset folder"),
        ("drive", "leaves the dataset folder"),
        ("size", r"\(id 2\): RLE size is 12x10, the image has 10x12"),
        ("cut rle", r"annotations\[1\] \(id 2\): bad RLE"),
        ("endless rle", r"annotations\[1\] \(id 2\): bad RLE"),
        ("text rle", r"annotations\[1\] \(id 2\): bad RLE"),
        ("runs", r"\(id 3\): bad RLE"),
        ("nan", r"\(id 1\): polygon 0 holds something that is not a finite number"),
        ("far", "polygon 0 lies far outside"),
        ("two points", "3 points or more"),
        ("no polygon", "empty list"),
        ("huge image", "'height' is 1000000000"),
        ("huge integer", "beyond 62 bits"),
        ("list", r"images\[0\] is a number"),
    ],
)
def test_malformed_file_gives_one_line(tmp_path: Path, change: str, says: str) -> None:
    path = written(tmp_path, broken(change))
    with pytest.raises(DatasetError, match=says) as caught:
        read_coco(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a JSON"),
        (b"\x00" * 100, "not a JSON"),
        (b'{"images": [', "truncated"),
        (b'{"images": nonsense}', "line 1 column 12"),
        (b'{"a":' * 100_000 + b"}", "nested too deeply"),
        (b'{"images": "\xff\xfe"}', "UTF-8"),
        (b"[]", "expected a JSON object {...}, found a list"),
        (b'{"a": 1}' + b" " * 70_000 + b"{}}", "Extra data"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_what_is_no_json_object(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        read_coco(path)


def test_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/c.jpg").symlink_to(outside)
    dataset = read_coco(written(tmp_path, document()), tmp_path / "root")
    with pytest.raises(DatasetError, match="leads outside"):
        dataset.path_of(dataset.images[1])
