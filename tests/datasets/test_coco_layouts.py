"""COCO files as the tools write them: where pictures lie, what ids look like, which categories are classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewmask.datasets.coco import read_coco
from fewmask.datasets.convert import convert_data
from fewmask.errors import DatasetError

SQUARE = [[30, 22, 60, 22, 60, 66, 30, 66]]


def document(file_names: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": name, "height": 90, "width": 120} for i, name in enumerate(file_names)],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "segmentation": SQUARE}
            for i in range(len(file_names))
        ],
        **changes,
    }


def written(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def picture(path: Path, shade: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (120, 90), (shade, 0, 0)).save(path)


@pytest.mark.parametrize(
    ("annotations", "names", "pictures"),
    [
        ("result.json", ["images/a.jpg", "images/b.jpg"], ["images/a.jpg", "images/b.jpg"]),
        ("result.json", ["images\\a.jpg", "images\\b.jpg"], ["images/a.jpg", "images/b.jpg"]),
        ("result.json", ["images/a%20b.jpg"], ["images/a b.jpg"]),
        ("result.json", ["http://localhost:8080/data/upload/1/a.jpg"], ["images/a.jpg"]),
        ("annotations/instances_default.json", ["a.jpg", "sub/b.jpg"], ["images/a.jpg", "images/sub/b.jpg"]),
        ("annotations/instances_default.json", ["a.jpg", "b.jpg"], ["images/default/a.jpg", "images/default/b.jpg"]),
        ("annotations/instances_train.json", ["a.jpg", "b.jpg"], ["images/train/a.jpg", "images/train/b.jpg"]),
        ("annotations/instances_val2017.json", ["1.jpg", "2.jpg"], ["val2017/1.jpg", "val2017/2.jpg"]),
        ("annotations/person_keypoints_val2017.json", ["1.jpg"], ["images/val2017/1.jpg"]),
        ("annotations/train.json", ["1.jpg"], ["train/1.jpg"]),
        ("labels.json", ["a.jpg", "b.jpg"], ["data/a.jpg", "data/b.jpg"]),
        ("train/_annotations.coco.json", ["a_jpg.rf.0f.jpg"], ["train/a_jpg.rf.0f.jpg"]),
        ("train.json", ["a.jpg"], ["train/a.jpg"]),
        ("instances.json", ["a.jpg"], ["images/a.jpg"]),
        ("instances.json", ["a.jpg"], ["a.jpg"]),
    ],
)
def test_every_layout(tmp_path: Path, annotations: str, names: list[str], pictures: list[str]) -> None:
    """Beside them lie pictures of other names, of another split."""
    path = written(tmp_path / annotations, document(names))
    for shade, name in enumerate(pictures):
        picture(tmp_path / name, 40 * shade)
    for folder in ("test", "images/test", "images"):
        picture(tmp_path / folder / "other.jpg", 255)
    dataset = read_coco(path)
    for shade, (image, name) in enumerate(zip(dataset.images, pictures, strict=True)):
        assert dataset.path_of(image).resolve() == (tmp_path / name).resolve()
        assert abs(int(dataset.read(image)[0, 0, 0]) - 40 * shade) < 4


def test_the_folder_that_the_user_names_counts_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "result.json", document(["images/a.jpg"]))
    picture(tmp_path / "images/a.jpg", 0)
    picture(tmp_path / "elsewhere/a.jpg", 200)
    dataset = read_coco(path, tmp_path / "elsewhere")
    assert dataset.read(dataset.images[0])[0, 0, 0] > 190


def test_one_end_of_two_names_is_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path / "result.json", document(["http://x/1/a.jpg", "http://x/2/a.jpg"]))
    picture(tmp_path / "images/a.jpg")
    dataset = read_coco(path)
    with pytest.raises(DatasetError, match="no such file"):
        dataset.read(dataset.images[0])


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg")
    for name in ("..%2Fsecret.jpg", "a/..%2f..%2fsecret.jpg"):
        path = written(tmp_path / "x/result.json", document([name]))
        dataset = read_coco(path)
        with pytest.raises(DatasetError):
            dataset.read(dataset.images[0])
        shutil.rmtree(tmp_path / "x")


def test_the_picture_as_it_was_marked(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[:, :60] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    stored = read_coco(written(tmp_path / "stored.json", document(["a.png"])))
    upright = document(["a.png"])
    upright["images"][0].update(height=120, width=90)
    turned = read_coco(written(tmp_path / "turned.json", upright))
    np.testing.assert_array_equal(stored.read(stored.images[0]), pixels)
    np.testing.assert_array_equal(turned.read(turned.images[0]), np.rot90(pixels, -1))


def entry(key: int, name: str, above: str) -> dict[str, Any]:
    return {"id": key, "name": name, "supercategory": above}


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ([entry(0, "dog", "none"), entry(1, "dog", "dog")], ["dog"]),
        ([entry(0, "farm", "none"), entry(1, "dog", "farm")], ["dog"]),
        ([{"id": 0, "name": "farm"}, {"id": 1, "name": "dog", "supercategory": "farm"}], ["dog"]),
        ([{"id": 1, "name": "dog"}, {"id": 9, "name": "dog"}], ["dog"]),
        ([{"id": 1, "name": "dog", "supercategory": "none"}, {"id": 2, "name": "cat"}], ["dog", "cat"]),
        ([{"id": 1}, {"id": 2, "name": None}], ["class_1", "class_2"]),
        ([{"id": 1, "name": 7}], ["7"]),
        ([{"id": "1", "name": "dog"}], ["dog"]),
        ([{"id": 1, "name": "dog", "supercategory": ["odd"]}], ["dog"]),
    ],
)
def test_categories_of_other_writers(tmp_path: Path, categories: list[Any], expected: list[str]) -> None:
    dataset = read_coco(written(tmp_path / "a.json", document(["a.jpg"], categories=categories)))
    assert list(dataset.categories.values()) == expected
    assert dataset.annotations[0].category_id == 1


def test_one_name_for_two_classes_that_are_used_is_refused(tmp_path: Path) -> None:
    content = document(["a.jpg", "b.jpg"], categories=[{"id": 1, "name": "dog"}, {"id": 2, "name": "dog"}])
    content["annotations"][1]["category_id"] = 2
    with pytest.raises(DatasetError, match="categories 1 and 2: name 'dog' is there twice"):
        read_coco(written(tmp_path / "a.json", content))


@pytest.mark.parametrize("ids", [["7", "8"], ["a1f", "b2e"], ["x", 5], ["00012", "9"]])
def test_ids_that_are_text(tmp_path: Path, ids: list[Any]) -> None:
    content = document(["a.jpg", "b.jpg"])
    for image, annotation, key in zip(content["images"], content["annotations"], ids, strict=True):
        image["id"] = annotation["image_id"] = annotation["id"] = key
    dataset = read_coco(written(tmp_path / "a.json", content))
    assert len({image.id for image in dataset.images}) == 2
    for image, annotation in zip(dataset.images, dataset.annotations, strict=True):
        assert dataset.annotations_of[image.id] == [annotation]
    content["annotations"][0]["image_id"] = "nowhere"
    with pytest.raises(DatasetError, match="'image_id' 'nowhere' is no id of this file"):
        read_coco(written(tmp_path / "a.json", content))


@pytest.mark.parametrize("annotations", ["result.json", "annotations/instances_default.json"])
def test_the_folder_stands_for_its_one_file(tmp_path: Path, annotations: str) -> None:
    written(tmp_path / "export" / annotations, document(["a.jpg"]))
    picture(tmp_path / "export/images/a.jpg")
    assert len(read_coco(tmp_path / "export").images) == 1
    done = convert_data(tmp_path / "export", tmp_path / "out.json", target_format="coco")
    assert (done.source_format, done.frames, done.objects) == ("coco", 1, 1)
    written(tmp_path / "export" / annotations.replace(".json", "_2.json"), document(["a.jpg"]))
    with pytest.raises(DatasetError, match="2 JSON files"):
        read_coco(tmp_path / "export")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="without a JSON file"):
        read_coco(tmp_path / "empty")


def test_nothing_to_convert_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "x/images").mkdir(parents=True)
    (tmp_path / "x/masks").mkdir()
    path = written(tmp_path / "none.json", {"images": [], "annotations": [], "categories": []})
    for source in (tmp_path / "x", path):
        with pytest.raises(DatasetError, match=r"nothing to convert|no frames there"):
            convert_data(source, tmp_path / "out.json", target_format="coco")
        assert not (tmp_path / "out.json").exists()
