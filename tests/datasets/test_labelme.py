import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_datasets import labelme_folder, save_picture

from fewmask.datasets.labelme import read_labelme
from fewmask.datasets.video_coco import pictures_as_frames
from fewmask.errors import DatasetError
from fewmask.media import rle


def changed(root: Path, **changes: Any) -> Path:
    """One labelme file in a folder of its own, with a shape or top-level key changed."""
    labelme_folder(root)
    (root / "clip/1.json").unlink()
    path = root / "clip/0.json"
    document = json.loads(path.read_text())
    for key, value in changes.items():
        if key in document:
            document[key] = value
        else:
            document["shapes"][0][key] = value
    path.write_text(json.dumps(document))
    return root


def test_shapes_groups_and_tracks(tmp_path: Path) -> None:
    dataset = read_labelme(labelme_folder(tmp_path))
    assert dataset.categories == {1: "ball", 2: "cat"}
    assert [image.file_name for image in dataset.images] == ["clip/0.jpg", "clip/1.jpg"]
    cat, ball, later = dataset.annotations
    expected = np.zeros((12, 16), dtype=bool)
    expected[1:6, 1:6] = True
    expected[8:10, 8:11] = True
    np.testing.assert_array_equal(rle.decode(cat.mask), expected)
    assert len(cat.segmentation) == 2
    assert cat.extra == later.extra != ball.extra
    tracks = pictures_as_frames(dataset)
    assert [(t.category_id, [m is not None for m in t.segmentations]) for t in tracks.annotations] == [
        (2, [True, True]), (1, [True, False])]  # fmt: skip


def test_circle_has_the_area_of_a_circle(tmp_path: Path) -> None:
    changed(tmp_path, points=[[50, 40], [50, 10]], shape_type="circle", group_id=None, imageHeight=80, imageWidth=100)
    circle = next(a for a in read_labelme(tmp_path).annotations if len(a.segmentation[0]) > 8 and a.area > 100)
    assert abs(circle.area - np.pi * 900) < 0.005 * np.pi * 900
    assert circle.bbox == pytest.approx((20, 10, 60, 60), abs=1)


@pytest.mark.parametrize(
    ("shape_type", "points", "area"),
    [
        ("rectangle", [[10, 10], [50, 40]], 1200),
        ("rectangle", [[50, 40], [10, 10]], 1200),
        ("rectangle", [[10, 10], [50, 10], [50, 40], [10, 40]], 1200),
        ("rotation", [[30, 5], [60, 35], [50, 45], [20, 15]], 600),
        ("quadrilateral", [[10, 10], [50, 10], [50, 40], [10, 40]], 1200),
        ("ellipse", [[10, 10], [50, 40]], 942),
        ("circle", [[40, 40], [40, 20]], 1257),
        ("polygon", [[10, 10], [50, 10], [50, 40]], 600),
        ("", [[10, 10], [50, 10], [50, 40]], 600),
        (None, [[10, 10], [50, 10], [50, 40]], 600),
    ],
)
def test_shapes_of_the_forks(tmp_path: Path, shape_type: str | None, points: list[Any], area: int) -> None:
    shapes = [{"label": "dog", "points": points, "shape_type": shape_type, "group_id": None, "attributes": {}}]
    changed(tmp_path, shapes=shapes, imageHeight=90, imageWidth=120)
    (found,) = read_labelme(tmp_path).annotations
    assert abs(found.area - area) <= 0.05 * area


@pytest.mark.parametrize("shape_type", ["line", "linestrip", "point", "points", "cuboid"])
def test_shapes_that_cover_no_pixels(tmp_path: Path, shape_type: str) -> None:
    with pytest.raises(DatasetError, match=f"a shape of type '{shape_type}' covers no pixels"):
        read_labelme(changed(tmp_path, shape_type=shape_type))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_rectangle_of_another_number_of_points(tmp_path: Path, count: int) -> None:
    with pytest.raises(DatasetError, match=f"a rectangle has two or four points, this one has {count}"):
        read_labelme(changed(tmp_path, shape_type="rectangle", points=[[1, 2]] * count))


def test_bitmap_shape(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(np.array([[0, 1, 1], [1, 1, 1]], dtype=np.uint8) * 255).convert("1").save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    changed(tmp_path, shape_type="mask", mask=text, points=[[4, 3], [6, 4]], group_id=None)
    mask = next(a for a in read_labelme(tmp_path).annotations if a.area == 5)
    assert mask.bbox == (4, 3, 3, 2)


def test_size_is_read_off_the_picture_where_it_is_not_stated(tmp_path: Path) -> None:
    changed(tmp_path, imageHeight=None)
    assert read_labelme(tmp_path).images[0].height == 12


def test_picture_in_a_neighbouring_folder(tmp_path: Path) -> None:
    changed(tmp_path, imagePath="..\\pictures\\a.jpg")
    assert read_labelme(tmp_path).images[0].file_name == "pictures/a.jpg"


def test_a_folder_without_groups_is_no_video(tmp_path: Path) -> None:
    changed(tmp_path, shapes=[{"label": "x", "points": [[0, 0], [4, 0], [4, 4]], "group_id": None}])
    dataset = read_labelme(tmp_path)
    assert dataset.images[0].extra == {}
    with pytest.raises(DatasetError, match="--single-frames"):
        pictures_as_frames(dataset)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape_type": "line"}, r"shapes\[0\] \('cat'\): a shape of type 'line' covers no pixels"),
        ({"shape_type": "circle"}, "a circle has two points, this one has 4"),
        ({"shape_type": "circle", "points": [[0, 0], [1e9, 0]]}, "larger than any picture"),
        ({"points": [[1, 2], [3, 4]]}, "3 points or more"),
        ({"points": [[1, 2], [3]]}, r"a point must be \[x, y\]"),
        ({"points": [[1, 2], [3, "4"], [5, 6]]}, r"a point must be \[x, y\]"),
        ({"points": [[1, 2], [1e7, 4], [5, 6]]}, "far outside the image"),
        ({"label": 3}, r"shapes\[0\]: 'label' is a number"),
        ({"group_id": "a"}, "'group_id' is 'a'"),
        ({"imagePath": "../../../etc/x.jpg"}, "leaves the dataset folder"),
        ({"imagePath": "/etc/x.jpg"}, "is absolute"),
        ({"imagePath": "C:\\x.jpg"}, "is absolute"),
        ({"imageHeight": -3}, "'height' is -3"),
        ({"imageHeight": None, "imagePath": "gone.jpg"}, "gone.jpg: picture is missing"),
        ({"shapes": {}}, "'shapes' is an object, expected a list"),
        ({"shape_type": "mask", "mask": "%%"}, "'mask' is not base64"),
        ({"shape_type": "mask", "mask": "QUJD"}, "not a readable picture of a mask"),
    ],
)
def test_malformed(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        read_labelme(changed(tmp_path, **change))
    assert "\n" not in str(caught.value)


def test_two_files_for_one_picture(tmp_path: Path) -> None:
    labelme_folder(tmp_path)
    (tmp_path / "clip/again.json").write_text((tmp_path / "clip/0.json").read_text())
    with pytest.raises(DatasetError, match=r"two files describe the picture 'clip/0\.jpg'"):
        read_labelme(tmp_path)
    save_picture(tmp_path / "empty/x.jpg")
    with pytest.raises(DatasetError, match="no labelme files"):
        read_labelme(tmp_path / "empty")
