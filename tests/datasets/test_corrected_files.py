"""What CVAT and Label Studio give back, as datasets with the same track ids."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from fewmask.datasets import json_file
from fewmask.datasets.coco import read_coco
from fewmask.datasets.convert import ConvertOptions, convert_data
from fewmask.datasets.formats import detect_format
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import DatasetError
from fewmask.exports.video_result import VideoResult
from fewmask.media import rle
from fewmask.media.brush_rle import decode_brush, encode_brush
from fewmask.media.results import Track

SIZE = (40, 60)


def box(top, left, height, width):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return rle.encode(mask)


def result():
    """Track 3, a cat that moves; track 7, a dog that comes and goes; 5 frames."""
    cat = tuple(box(5, 4 + 3 * t, 12, 15) for t in range(5))
    dog = (None, box(22, 30, 10, 20), None, box(20, 33, 10, 20), box(20, 36, 10, 20))
    return VideoResult("clip", SIZE, 5, (Track(3, 2, 0.9, cat), Track(7, 5, 0.6, dog)), {2: "cat", 5: "dog"}, fps=10.0)


def written(tmp_path, kind):
    if kind == "label-studio":
        path = tmp_path / "tasks.json"
        path.write_text(
            json.dumps(result().to_label_studio("clip.mp4", frames_url="/data/local-files/?d=run/images/clip"))
        )
    else:
        path = tmp_path / "cvat.xml"
        path.write_text(result().to_cvat(exact=kind == "masks"))
    return path


def tracks_of(path, tmp_path, name="ytvis.json"):
    done = convert_data(path, tmp_path / name, target_format="ytvis")
    dataset = read_ytvis(tmp_path / name)
    names = {category.id: category.name for category in dataset.categories}
    return dataset, {a.id: (names[a.category_id], a.segmentations) for a in dataset.annotations}, done.notes


@pytest.mark.parametrize("kind", ["polygons", "masks", "label-studio"])
def test_ids_classes_and_masks_come_back(tmp_path, kind):
    path = written(tmp_path, kind)
    assert detect_format(path) == ("label-studio" if kind == "label-studio" else "cvat")
    dataset, tracks, _ = tracks_of(path, tmp_path)
    (video,) = dataset.videos
    assert video.file_names == tuple(f"clip/{t:05d}.jpg" for t in range(5))
    assert {i: label for i, (label, _) in tracks.items()} == {3: "cat", 7: "dog"}
    for track in result().tracks:
        for mask, found in zip(track.masks, tracks[track.track_id][1], strict=True):
            assert (mask is None) == (found is None)
            if mask is not None:
                assert rle.iou_matrix([mask], [found])[0, 0] >= (0.97 if kind == "polygons" else 1)
    convert_data(path, tmp_path / "coco.json", target_format="coco")
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert {a["instance_id"] for a in coco["annotations"]} == {3, 7}
    assert len(coco["images"]) == 5


@pytest.mark.parametrize("kind", ["polygons", "masks", "label-studio"])
def test_a_result_without_tracks_is_a_dataset_of_its_frames(tmp_path, kind):
    empty = VideoResult("clip", SIZE, 5, (), {2: "cat"})
    path = tmp_path / ("tasks.json" if kind == "label-studio" else "cvat.xml")
    path.write_text(
        json.dumps(empty.to_label_studio("clip.mp4", frames_url="/data/local-files/?d=run/images/clip"))
        if kind == "label-studio" else empty.to_cvat(exact=kind == "masks")
    )  # fmt: skip
    options = ConvertOptions(single_frames=kind == "masks")  # CVAT's pictures do not say that they are frames
    for target in ("ytvis", "coco"):
        done = convert_data(path, tmp_path / f"{target}.json", target_format=target, options=options)
        assert (done.frames, done.objects) == (5, 0)
    assert len(read_ytvis(tmp_path / "ytvis.json").videos) == (5 if kind == "masks" else 1)


def test_cvat_numbers_tracks_anew_and_a_new_track_gets_the_next_id(tmp_path):
    path = written(tmp_path, "polygons")
    text = path.read_text().replace('<track id="3"', '<track id="0"').replace('<track id="7"', '<track id="1"')
    drawn = (
        '<track id="2" label="cat"><box frame="1" outside="0" occluded="0" keyframe="1" xtl="1.00" ytl="30.00" '
        'xbr="9.00" ybr="38.00" z_order="0"><attribute name="track_id">0</attribute></box></track></annotations>'
    )
    path.write_text(text.replace("</annotations>", drawn))
    _, tracks, notes = tracks_of(path, tmp_path)
    assert sorted(tracks) == [3, 7, 8]
    assert rle.area(tracks[8][1][1]) == 64
    assert notes == ("1 objects without a track id have new ones, 8 to 8",)
    plain = re.sub(r'<attribute name="track_id">\d+</attribute>', "", path.read_text())
    (tmp_path / "plain.xml").write_text(plain.replace('<track id="0"', '<track id="4"'))
    assert sorted(tracks_of(tmp_path / "plain.xml", tmp_path, "plain.json")[1]) == [1, 2, 4]


def test_shapes_of_cvat_pictures(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(
        '<annotations><version>1.1</version><image id="0" name="a.png" width="60" height="40">'
        '<ellipse label="x" cx="30" cy="20" rx="10" ry="5" rotation="90"/>'
        '<box label="y" xtl="1" ytl="2" xbr="5" ybr="8" group_id="4"/>'
        '<box label="y" xtl="11" ytl="2" xbr="15" ybr="8" group_id="4"/>'
        '<mask label="x" rle="0, 2, 1, 3" left="50" top="30" width="3" height="2"/></image></annotations>'
    )
    done = convert_data(path, tmp_path / "coco.json", target_format="coco")
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert (done.frames, done.objects) == (1, 3)
    areas = [a["area"] for a in coco["annotations"]]
    assert areas[1:] == [48, 5]
    assert areas[0] == pytest.approx(np.pi * 50, rel=0.05)
    assert coco["annotations"][0]["bbox"][2:] == [pytest.approx(10, abs=1), pytest.approx(20, abs=1)]
    assert "video_id" not in coco["images"][0]


@pytest.mark.parametrize(("stop", "drawn", "frames"), [(5, 4, 5), (4, 4, 5), (6, 4, 7), (5, 5, 6)])
def test_how_many_frames_where_size_and_stop_frame_disagree(tmp_path, stop, drawn, frames):
    """Datumaro's stop_frame is the number of frames; a shape beyond what size says is believed."""
    path = written(tmp_path, "polygons")
    text = path.read_text().replace("<stop_frame>4<", f"<stop_frame>{stop}<")
    box = f'<box frame="{drawn}" xtl="1" ytl="1" xbr="3" ybr="3" outside="0"/></track>'
    path.write_text(text.replace("</track>", box) if drawn == 5 else text)
    dataset, _, _ = tracks_of(path, tmp_path)
    assert dataset.videos[0].length == frames


@pytest.mark.parametrize("folder", ["images", "elsewhere"])
def test_pictures_of_which_no_size_is_stated_are_asked_themselves(tmp_path, folder):
    """As Datumaro writes them where it saw no picture; upright, as everywhere."""
    path = tmp_path / "a.xml"
    pictures = "".join(
        f'<image id="{i}" name="{i}.jpg"><box label="y" xtl="1" ytl="2" xbr="5" ybr="8"/></image>' for i in range(2)
    )
    path.write_text(f"<annotations>{pictures}</annotations>")
    with pytest.raises(DatasetError, match=r"0\.jpg.*states no width and height.*give --frames-root"):
        convert_data(path, tmp_path / "coco.json", target_format="coco")
    (tmp_path / folder).mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / folder / "0.jpg")
    Image.new("RGB", (60, 40)).save(tmp_path / folder / "1.jpg", exif=turned)
    options = ConvertOptions(frames_root=None if folder == "images" else tmp_path / folder)
    convert_data(path, tmp_path / "coco.json", target_format="coco", options=options)
    found = json.loads((tmp_path / "coco.json").read_text())["images"]
    assert [(image["width"], image["height"]) for image in found] == [(60, 40), (40, 60)]


def corrected(tmp_path, change):
    """The tasks as a person left them: ``change`` gets the annotation of frame 1."""
    tasks = json.loads(written(tmp_path, "label-studio").read_text())
    for task in tasks[:4]:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    change(tasks[1]["annotations"][0]["result"])
    path = tmp_path / "corrected.json"
    path.write_text(json.dumps(tasks))
    return path


def test_label_studio_what_nobody_looked_at_is_left_out_and_text_names_a_track(tmp_path):
    def change(regions):
        dog = next(region for region in regions if region["id"] == "track-7")
        dog["value"]["rle"] = encode_brush(rle.decode(box(0, 0, 4, 4)))
        stroke = {**dog, "id": "aB3", "meta": {"text": ["track 7"]}}
        stroke["value"] = {**dog["value"], "rle": encode_brush(rle.decode(box(30, 50, 2, 3)))}
        new = {**stroke, "id": "xyz", "type": "rectanglelabels", "meta": {}}
        new["value"] = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 0, "rectanglelabels": ["cat"]}
        regions += [stroke, new]

    _, tracks, notes = tracks_of(corrected(tmp_path, change), tmp_path)
    assert rle.area(tracks[7][1][1]) == 16 + 6
    assert rle.area(tracks[8][1][1]) == 6 * 4
    assert "1 of 5 tasks have no annotation and were left out" in notes[0]
    assert len(tracks[3][1]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[0].update(type="keypointlabels"), r"task 2: region track-3: of type 'keypointlabels'"),
        (lambda r: r[0]["value"].update(rle=[1, 2, 3]), "not that of a picture of 40x60"),
        (lambda r: r[0]["value"].update(rle=r[0]["value"]["rle"][:20]), "cut short"),
        (lambda r: r[0]["value"].update(rle=[300]), "list of bytes"),
        (lambda r: r[0]["value"].update(brushlabels=["a", "b"]), "one label"),
        (lambda r: r[0].update(original_width=61), "another size"),
        (lambda r: r[0].update(image_rotation=90), "rotated"),
        (lambda r: r.append({**r[0], "value": {**r[0]["value"], "brushlabels": ["dog"]}}), "track 3 is there twice"),
    ],
)
def test_label_studio_says_what_is_wrong(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        tracks_of(corrected(tmp_path, change), tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("<annotations>", "<annotations", "not valid XML"),
        ("annotations>", "dataset>", "not a CVAT file"),
        ("<version>1.1", "<version>1.0", "only 1.1"),
        ('frame="2"', 'frame="0"', r"track 3: frame 0 comes after frame 1"),
        ('frame="4"', 'frame="9"', "frame 9 is not among"),
        ("<original_size>", "<size2>", "XML"),
        ('label="cat"', 'label=""', "no label"),
        ("<polygon", "<polyline", "covers no pixels|XML"),
        ('points="', 'points="nan,', "not a finite number"),
        ("<stop_frame>4", "<stop_frame>99999999999", "cannot be"),
        (">3</attribute>", ">4</attribute>", r"track 3: its shapes have the track ids \[3, 4\]"),
    ],
)
def test_cvat_says_what_is_wrong(tmp_path, before, after, message):
    path = written(tmp_path, "polygons")
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after) if before == "annotations>" else text.replace(before, after, 1))
    with pytest.raises(DatasetError, match=message):
        tracks_of(path, tmp_path)


@pytest.mark.parametrize(
    ("rle_text", "message"), [("1, 2", "cover 3 pixels"), ("x", "not a whole"), ("", "not a whole")]
)
def test_cvat_masks_are_checked(tmp_path, rle_text, message):
    path = tmp_path / "a.xml"
    path.write_text(
        f'<annotations><image id="0" name="a" width="9" height="9"><mask label="x" rle="{rle_text}" left="0" top="0" '
        'width="2" height="2"/></image></annotations>'
    )
    with pytest.raises(DatasetError, match=message):
        convert_data(path, tmp_path / "coco.json", target_format="coco")


def test_a_path_may_not_leave_the_root(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<annotations><image id="0" name="../a.png" width="9" height="9"/></annotations>')
    with pytest.raises(DatasetError, match=r"\.\./a\.png"):
        convert_data(path, tmp_path / "coco.json", target_format="coco")


def test_brush_values_one_by_one():
    """Runs of single values and widths that we do not write, as other encoders may."""
    bits = f"{16:032b}{7:05b}" + f"{0:04b}{2:04b}{7:04b}{15:04b}"
    bits += "0" + "01" + f"{7:03b}" + "".join(f"{v:08b}" for v in (0, 0, 0, 0, 9, 9, 9, 255))
    bits += "1" + "01" + f"{7:03b}" + f"{0:08b}"
    bits += "0" * (-len(bits) % 8)
    data = list(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    assert decode_brush(data, 2, 2, "x").tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda task: task.update(predictions=5, annotations=[]), None),
        (lambda task: task.update(predictions={"a": 1}, annotations=[]), None),
        (lambda task: task["annotations"][0]["result"][0].update(meta={"text": 1.5}), None),
        (lambda task: task["annotations"][0]["result"][0].update(meta={"text": {"a": 1}}), None),
        (lambda task: task["data"].update(image="http://[::1/images/a.jpg", file_name=None), "is no address"),
        (
            lambda task: (task["data"].pop("width"), task["annotations"][0]["result"][0].pop("original_height")),
            "height",
        ),
        (lambda task: task.update(annotations=7), "annotations"),
        (lambda task: task.update(annotations=[[]]), "annotations"),
    ],
)
def test_label_studio_where_another_type_stands(tmp_path, change, message):
    """Read or refused in words; never a traceback."""
    path = corrected(tmp_path, lambda _: None)
    tasks = json.loads(path.read_text())
    change(tasks[1])
    path.write_text(json.dumps(tasks))
    if message is None:
        assert convert_data(path, tmp_path / "ytvis.json", target_format="ytvis").frames in (3, 4)
        return
    with pytest.raises(DatasetError, match=message) as refused:
        convert_data(path, tmp_path / "ytvis.json", target_format="ytvis")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["0" * 300, "a/" + "b" * 256 + "/c.jpg", "a/" * 1600 + "x.jpg", "ä" * 130 + ".jpg"])
def test_names_longer_than_file_systems_take_are_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="longer than a file's name can be"):
        json_file.relative_name(name, "here")
    image = {"id": 1, "file_name": name, "width": 60, "height": 40}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    document = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="longer than"):
        read_coco(tmp_path / "a.json")
