import json

import numpy as np
import pytest
from PIL import Image

from fewmask.errors import DatasetError
from fewmask.vipmt.support import MAX_PICTURES, read_support


def picture(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), 90, dtype=np.uint8)).save(path)


def mask(path, size=(40, 30), value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    pixels[5:15, 5:20] = value
    Image.fromarray(pixels).save(path)


def test_pictures_with_same_name_masks(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "dog" / f"{name}.jpg")
        mask(tmp_path / "dog" / f"{name}.png", value=1)
    support = read_support(tmp_path / "dog")
    assert list(support.classes) == ["dog"]
    assert [int(p.mask.sum()) for p in support.classes["dog"]] == [150, 150]


def test_png_pictures_and_mask_folder(tmp_path):
    picture(tmp_path / "a.png")
    mask(tmp_path / "a_mask.png")
    picture(tmp_path / "b.png")
    mask(tmp_path / "masks" / "b.png")
    assert len(read_support(tmp_path)) == 2


def test_one_folder_per_class_and_what_must_not_be_found(tmp_path):
    for folder in ("cat", "dog", "not"):
        picture(tmp_path / folder / "a.jpg")
        mask(tmp_path / folder / "a.png")
    support = read_support(tmp_path)
    assert list(support.classes) == ["cat", "dog"]
    assert len(support.negatives) == 1


def test_coco_file_gives_a_class_per_category(tmp_path):
    picture(tmp_path / "a.jpg")
    square = [[5, 5, 20, 5, 20, 15, 5, 15]]
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": c, "segmentation": square, "bbox": [5, 5, 15, 10], "area": 150}
            for i, c in ((1, 3), (2, 7), (3, 7))
        ],
    }
    for annotation in document["annotations"]:
        annotation["iscrowd"] = 0
    (tmp_path / "instances.json").write_text(json.dumps(document))
    for path in (tmp_path, tmp_path / "instances.json"):
        support = read_support(path)
        assert {name: len(found) for name, found in support.classes.items()} == {"cat": 1, "dog": 1}


def test_pairs_and_one_picture_only():
    rgb, inside = np.zeros((9, 9, 3), dtype=np.uint8), np.eye(9, dtype=bool)
    assert len(read_support([(rgb, inside)])) == 1


def bad_no_mask(folder):
    picture(folder / "a.jpg")
    picture(folder / "b.jpg")
    mask(folder / "a.png")
    return r"b\.jpg: has no mask"


def bad_empty_mask(folder):
    picture(folder / "a.jpg")
    mask(folder / "a.png", value=0)
    return r"a\.jpg: the mask is empty"


def bad_other_size(folder):
    picture(folder / "a.jpg")
    mask(folder / "a.png", size=(41, 30))
    return r"a\.jpg: the mask is 41x30, the picture 40x30"


def bad_picture(folder):
    (folder / "a.jpg").write_bytes(b"no picture")
    mask(folder / "a.png")
    return r"a\.jpg: cannot be read"


def bad_mask_file(folder):
    picture(folder / "a.jpg")
    (folder / "a.png").write_bytes(b"no picture")
    return r"a\.png: not a readable picture of a mask"


def bad_orphan_mask(folder):
    picture(folder / "a.jpg")
    mask(folder / "a.png")
    mask(folder / "b_mask.png")
    return r"b_mask\.png: a mask without its picture"


def bad_odd_file(folder):
    picture(folder / "a.jpg")
    mask(folder / "a.png")
    (folder / "notes.txt").write_text("hello")
    return r"notes\.txt: neither a picture nor a mask"


def bad_two_masks(folder):
    picture(folder / "a.jpg")
    mask(folder / "a.png")
    mask(folder / "a_mask.png")
    return r"a\.jpg: has 2 masks"


def bad_unlisted_picture(folder):
    (folder / "instances.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    picture(folder / "a.jpg")
    return r"instances\.json: none of its 0 pictures is marked"


def bad_parts_of_a_dataset(folder):
    for part in ("train", "valid"):
        picture(folder / part / "a.jpg")
        (folder / part / "_annotations.coco.json").write_text("{}")
    return r"parts of a dataset \(train, \.\.\.\); give the folder of one"


def bad_note_among_masks(folder):
    picture(folder / "a.jpg")
    mask(folder / "masks" / "a.png")
    (folder / "masks" / "readme.txt").write_text("hello")
    return r"readme\.txt: neither a picture nor a mask"


def bad_nothing(folder):
    return "no pictures there"


def bad_missing(folder):
    folder.rmdir()
    return "no such folder"


@pytest.mark.parametrize(
    "make",
    [
        bad_no_mask,
        bad_empty_mask,
        bad_other_size,
        bad_picture,
        bad_mask_file,
        bad_orphan_mask,
        bad_odd_file,
        bad_two_masks,
        bad_unlisted_picture,
        bad_nothing,
        bad_missing,
    ],
)
def test_bad_supports_are_told_in_one_line(tmp_path, make):
    with pytest.raises(DatasetError, match=make(tmp_path)) as caught:
        read_support(tmp_path)
    assert "\n" not in str(caught.value)


def test_too_many_pictures_are_refused_not_dropped():
    rgb, inside = np.zeros((2, 2, 3), dtype=np.uint8), np.ones((2, 2), dtype=bool)
    with pytest.raises(DatasetError, match=f"at most {MAX_PICTURES}"):
        read_support([(rgb, inside)] * (MAX_PICTURES + 1))


SQUARE = [[5, 5, 20, 5, 20, 15, 5, 15]]


def coco(path, names, marked):
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "images": [{"id": i, "file_name": name, "height": 30, "width": 40} for i, name in enumerate(names)],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "segmentation": SQUARE} for i in marked],
    }
    path.write_text(json.dumps(document))


def test_pictures_that_an_export_lists_unmarked_are_told_and_no_support(tmp_path, caplog):
    for name in ("a", "b", "c", "beside"):
        picture(tmp_path / f"{name}.jpg")
    coco(tmp_path / "x.json", ["a.jpg", "b.jpg", "c.jpg"], [1])
    support = read_support(tmp_path)
    assert [p.name.partition("(")[2] for p in support.classes["dog"]] == ["b.jpg), class dog"]
    assert "3 pictures without annotations are no support (beside.jpg, a.jpg, c.jpg)" in caplog.text
    coco(tmp_path / "x.json", ["a.jpg", "b.jpg"], [])
    with pytest.raises(DatasetError, match="none of its 2 pictures is marked"):
        read_support(tmp_path)


@pytest.mark.parametrize(
    ("annotations", "name", "place"),
    [
        ("result.json", "images/a.jpg", "images/a.jpg"),
        ("annotations/instances_default.json", "a.jpg", "images/default/a.jpg"),
        ("labels.json", "a.jpg", "data/a.jpg"),
        ("_annotations.coco.json", "a.jpg", "a.jpg"),
    ],
)
def test_folders_of_annotation_tools(tmp_path, annotations, name, place):
    picture(tmp_path / place)
    coco(tmp_path / annotations, [name], [0])
    assert int(read_support(tmp_path).classes["dog"][0].mask.sum()) == 150


@pytest.mark.parametrize("name", ["a_mask.jpg", "a.tif", "a_mask.bmp", "masks/a.jpg", "masks/a.gif", "a.gif"])
def test_masks_in_other_formats(tmp_path, name):
    picture(tmp_path / "dog" / "a.jpg")
    mask(tmp_path / "dog" / name)
    (tmp_path / "dog" / "._a.jpg").write_bytes(b"litter")
    (tmp_path / "dog" / "Thumbs.db").write_bytes(b"litter")
    (found,) = read_support(tmp_path / "dog").classes["dog"]
    assert abs(int(found.mask.sum()) - 150) <= 4


def test_pictures_and_masks_in_two_folders(tmp_path):
    for name in ("a.jpg", "b.png"):
        picture(tmp_path / "dog" / "images" / name)
        mask(tmp_path / "dog" / "masks" / f"{name[0]}.png")
    assert [int(p.mask.sum()) for p in read_support(tmp_path / "dog").classes["dog"]] == [150, 150]


def test_a_turned_photograph_with_its_upright_mask(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    mask(tmp_path / "a.png", size=(30, 40))
    (found,) = next(iter(read_support(tmp_path).classes.values()))
    assert found.rgb.shape == (40, 30, 3)
    assert int(found.mask.sum()) == 150
