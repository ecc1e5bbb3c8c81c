import dataclasses
import json
import sys
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import supervision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from lxml import etree
from PIL import Image
from pycocotools.coco import COCO

from fewmask.errors import DatasetError, FewmaskError
from fewmask.exports.davis import davis_palette
from fewmask.exports.polygons import mask_polygon, overlap
from fewmask.exports.video_result import VideoResult
from fewmask.exports.ytvis import write_ytvis_zip
from fewmask.media import rle
from fewmask.media.brush_rle import decode_brush
from fewmask.media.results import Track

SCHEMAS = Path(__file__).parent / "schemas"


def validate(value, schema):
    jsonschema.validate(json.loads(json.dumps(value, allow_nan=False)), json.loads((SCHEMAS / schema).read_text()))


bitmaps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda size: npst.arrays(bool, size))


@st.composite
def videos(draw):
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    length = draw(st.integers(1, 4))
    maybe = st.one_of(st.none(), npst.arrays(bool, size).map(rle.encode))
    masks = st.lists(maybe, min_size=length, max_size=length).map(tuple)
    ids = draw(st.lists(st.integers(0, 400), unique=True, max_size=3))
    scores = st.floats(0, 1)
    tracks = tuple(Track(i, draw(st.integers(1, 2)), draw(scores), draw(masks)) for i in ids)
    return VideoResult('a <video> & "more"', size, length, tracks, {1: "cat & <dog>", 2: "Käfer"}, fps=10.0)


def example():
    """Three tracks over four frames of 20x30 with a hole, two parts, an overlap, an absence and an empty mask."""
    ring = np.zeros((20, 30), bool)
    ring[4:14, 5:17] = True
    ring[7:11, 8:12] = False
    parts = np.zeros((20, 30), bool)
    parts[0:5, 0:4] = parts[12:20, 20:30] = True
    over = np.zeros((20, 30), bool)
    over[6:18, 10:25] = True
    empty = np.zeros((20, 30), bool)

    def encoded(*masks):
        return tuple(None if mask is None else rle.encode(mask) for mask in masks)

    tracks = (
        Track(3, 1, 0.9, encoded(ring, None, None, ring)),
        Track(1, 2, 0.4, encoded(None, parts, empty, parts)),
        Track(7, 1, 0.6, encoded(over, over, over, over)),
    )
    return VideoResult("clip", (20, 30), 4, tracks, {1: "cat", 2: "dog"}, fps=10.0)


def fill_by_centres(polygon, height, width):
    """An independent rasteriser: a pixel is inside when a ray to the left crosses the polygon oddly often."""
    inside = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        for row in range(height):
            y = row + 0.5
            if (y0 <= y) != (y1 <= y):
                crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                inside[row] ^= np.arange(width) + 0.5 > crossing
    return inside


def winding_by_centres(polygon, height, width):
    """The non-zero rule, which browsers use when they draw the polygon."""
    winding = np.zeros((height, width), int)
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        for row in range(height):
            y = row + 0.5
            if (y0 <= y) != (y1 <= y):
                crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                winding[row] += np.where(np.arange(width) + 0.5 > crossing, np.sign(y1 - y0), 0).astype(int)
    return winding != 0


@settings(deadline=None)
@given(bitmaps)
def test_the_exact_polygon_covers_the_same_pixels(bitmap):
    polygon = mask_polygon(rle.encode(bitmap))
    assert bool(polygon) == bitmap.any()
    if polygon:
        assert np.array_equal(fill_by_centres(polygon, *bitmap.shape), bitmap)
        assert np.array_equal(winding_by_centres(polygon, *bitmap.shape), bitmap)


@settings(max_examples=60, deadline=None)
@given(videos())
def test_cvat_has_every_mask_to_within_a_pixel(result):
    root = etree.fromstring(result.to_cvat().encode())
    etree.XMLSchema(etree.parse(SCHEMAS / "cvat_video_1_1.xsd")).assertValid(root)
    height, width = result.size
    by_id = {int(track.get("id")): track for track in root.iter("track")}
    for track in result.tracks:
        bitmaps_of = [np.zeros(result.size, bool) if m is None else rle.decode(m) for m in track.masks]
        present = [index for index, bitmap in enumerate(bitmaps_of) if bitmap.any()]
        if not present:
            assert track.track_id not in by_id
            continue
        element = by_id[track.track_id]
        assert element.get("label") == result.categories[track.category_id]
        assert [int(shape.get("frame")) for shape in element] == list(range(present[0], result.length))
        was_outside = False
        for shape in element:
            index = int(shape.get("frame"))
            points = [tuple(map(float, pair.split(","))) for pair in shape.get("points").split(";")]
            outside = shape.get("outside") == "1"
            assert outside == (index not in present)
            if outside:
                assert shape.get("keyframe") == ("0" if was_outside else "1")
            elif was_outside or index in (present[0], present[-1]):
                assert shape.get("keyframe") == "1"
            was_outside = outside
            if not outside:
                filled = fill_by_centres(points, height, width)
                near = overlap(np.array(points), track.masks[index]) >= 0.97
                assert near or np.array_equal(filled, bitmaps_of[index])
                assert shape.findtext("attribute") == str(track.track_id)


def read_brush(data, height, width):
    """Label Studio's run lengths read bit by bit, as its frontend does; gives the alpha channel."""
    bits = np.unpackbits(np.array(data, dtype=np.uint8)).tolist()
    position = 0

    def read(count):
        nonlocal position
        value = int("".join(map(str, bits[position : position + count])), 2)
        position += count
        return value

    total, word = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    out = []
    while len(out) < total:
        repeated = read(1)
        count = read(widths[read(2)]) + 1
        out += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    assert len(out) == total == height * width * 4
    return np.array(out).reshape(height, width, 4)[:, :, 3] > 0


@settings(max_examples=60, deadline=None)
@given(videos())
def test_label_studio_images_give_the_masks_back(result):
    tasks = result.to_label_studio("https://host/clip.mp4", frames_url="https://host/frames/")
    validate(tasks, "label_studio.json")
    assert [task["data"]["image"] for task in tasks] == [
        f"https://host/frames/{index:05d}.jpg" for index in range(result.length)
    ]
    for index, task in enumerate(tasks):
        regions = {region["id"]: region for region in task["predictions"][0]["result"]}
        for track in result.tracks:
            mask = track.masks[index]
            region = regions.pop(f"track-{track.track_id}", None)
            if mask is None or rle.area(mask) == 0:
                assert region is None
            else:
                assert region["value"]["brushlabels"] == [result.categories[track.category_id]]
                assert np.array_equal(read_brush(region["value"]["rle"], *result.size), rle.decode(mask))
                assert np.array_equal(decode_brush(region["value"]["rle"], *result.size, "x"), rle.decode(mask))
        assert regions == {}


def test_label_studio_long_runs():
    big = np.zeros((300, 400), bool)
    big[200:, :] = True
    result = VideoResult("v", (300, 400), 1, (Track(1, 1, 0.5, (rle.encode(big),)),), {1: "x"})
    (task,) = result.to_label_studio("v.mp4", frames_url="frames")
    data = task["predictions"][0]["result"][0]["value"]["rle"]
    assert len(data) < 100
    assert np.array_equal(read_brush(data, 300, 400), big)
    assert np.array_equal(decode_brush(data, 300, 400, "x"), big)


def test_label_studio_video_has_boxes_while_present():
    result = example()
    (task,) = result.to_label_studio("https://host/clip.mp4")
    validate([task], "label_studio.json")
    assert task["data"] == {"video": "https://host/clip.mp4"}
    regions = {region["id"]: region["value"] for region in task["predictions"][0]["result"]}
    ring = regions["track-3"]
    assert ring["labels"] == ["cat"]
    assert ring["framesCount"] == 4
    assert [(entry["frame"], entry["enabled"]) for entry in ring["sequence"]] == [(1, False), (4, False)]
    assert ring["sequence"][0] == {
        "frame": 1,
        "time": 0.1,
        "x": pytest.approx(500 / 30),
        "y": 20.0,
        "width": 40.0,
        "height": 50.0,
        "rotation": 0,
        "enabled": False,
    }
    enabled = [(entry["frame"], entry["enabled"]) for entry in regions["track-7"]["sequence"]]
    assert enabled == [(1, True), (2, True), (3, True), (4, False)]


@settings(deadline=None)
@given(videos())
def test_ytvis_and_its_zip(tmp_path_factory, result):
    entries = result.to_ytvis(video_id=5)
    validate(entries, "ytvis_results.json")
    assert [entry["segmentations"] for entry in entries] == [list(track.masks) for track in result.tracks]
    assert {entry["video_id"] for entry in entries} <= {5}
    path = write_ytvis_zip(iter(entries), tmp_path_factory.mktemp("zip") / "out.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["results.json"]
        assert json.loads(archive.read("results.json")) == entries


@settings(deadline=None)
@given(videos())
def test_coco(result):
    dataset = result.to_coco(first_image_id=11)
    validate(dataset, "coco.json")
    assert [image["id"] for image in dataset["images"]] == list(range(11, 11 + result.length))
    found = {(a["track_id"], a["image_id"] - 11): a for a in dataset["annotations"]}
    for track in result.tracks:
        for index, mask in enumerate(track.masks):
            annotation = found.pop((track.track_id, index), None)
            if mask is None or rle.area(mask) == 0:
                assert annotation is None
            else:
                assert annotation["segmentation"] == mask
                assert annotation["category_id"] == track.category_id
    assert found == {}


def test_coco_opens_in_pycocotools(tmp_path, capsys):
    result = VideoResult(**{**fields(example()), "file_names": ("a.png", "b.png", "c.png", "d.png")})
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(result.to_coco()))
    coco = COCO(str(path))
    capsys.readouterr()
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png", "b.png", "c.png", "d.png"]
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert np.array_equal(coco.annToMask(first[0]), rle.decode(result.tracks[0].masks[0]))
    assert first[0]["bbox"] == [5, 4, 12, 10]


def fields(result):
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


@settings(max_examples=25, deadline=None)
@given(videos())
def test_davis_gives_the_masks_back(tmp_path_factory, result):
    folder = result.to_davis(tmp_path_factory.mktemp("davis") / "clip")
    ids = sorted(track.track_id for track in result.tracks)
    value = {track_id: track_id for track_id in ids}
    if any(not 1 <= track_id <= 255 for track_id in ids):
        value = {track_id: int(key) for key, track_id in json.loads((folder / "ids.json").read_text()).items()}
        assert sorted(value) == ids
        assert all(value[track_id] == track_id for track_id in ids if 1 <= track_id <= 255)
        assert len(set(value.values())) == len(ids)
        assert all(1 <= pixel <= 255 for pixel in value.values())
        (folder / "ids.json").unlink()
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:05d}.png" for i in range(result.length)]
    for index in range(result.length):
        image = Image.open(folder / f"{index:05d}.png")
        assert image.mode == "P"
        assert np.array_equal(np.array(image.getpalette()).reshape(256, 3), davis_palette())
        expected = np.zeros(result.size, int)
        best = np.full(result.size, -1.0)
        for track in sorted(result.tracks, key=lambda track: track.track_id):
            if (mask := track.masks[index]) is not None:
                on_top = rle.decode(mask) & (track.score >= best)
                expected[on_top], best[on_top] = value[track.track_id], track.score
        assert np.array_equal(np.array(image), expected)


def test_davis_palette_is_the_published_one():
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]
    assert davis_palette()[:7].tolist() == first
    assert davis_palette()[8].tolist() == [64, 0, 0]
    assert davis_palette()[255].tolist() == [224, 224, 192]
    assert len({tuple(colour) for colour in davis_palette().tolist()}) == 256


def test_davis_holds_255_tracks(tmp_path):
    none = (None,)
    tracks = tuple(Track(i, 1, 0.5, none) for i in range(1, 257))
    VideoResult("v", (2, 2), 1, tracks[:255], {1: "x"}).to_davis(tmp_path / "a")
    with pytest.raises(DatasetError, match="v: 256 tracks, but a DAVIS PNG holds at most 255"):
        VideoResult("v", (2, 2), 1, tracks, {1: "x"}).to_davis(tmp_path / "b")


def test_unknown_frames_are_left_out(tmp_path):
    result = example()
    tracks = tuple(
        Track(t.track_id, t.category_id, t.score, (t.masks[0], None, None, t.masks[3])) for t in result.tracks
    )
    sparse = VideoResult(**{**fields(result), "tracks": tracks, "annotated_frames": (0, 3)})
    assert [image["id"] for image in sparse.to_coco()["images"]] == [1, 4]
    folder = sparse.to_davis(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00003.png"]
    assert len(sparse.to_label_studio("v", frames_url="f")) == 2
    with pytest.raises(DatasetError, match="frame 1 is not among"):
        sparse.to_supervision(1)


def test_supervision():
    result = example()
    detections = result.to_supervision(0)
    assert isinstance(detections, supervision.Detections)
    assert detections.tracker_id.tolist() == [3, 7]
    assert detections.class_id.tolist() == [1, 1]
    assert np.allclose(detections.confidence, [0.9, 0.6])
    assert detections.xyxy.tolist() == [[5, 4, 17, 14], [10, 6, 25, 18]]
    assert np.array_equal(detections.mask[0], rle.decode(result.tracks[0].masks[0]))
    assert detections.data["class_name"].tolist() == ["cat", "cat"]
    assert len(detections[detections.tracker_id == 7]) == 1
    nothing = VideoResult("v", (4, 5), 1, (), {1: "x"}).to_supervision(0)
    assert len(nothing) == 0
    assert nothing.mask.shape == (0, 4, 5)


def test_supervision_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(FewmaskError, match="pip install supervision"):
        example().to_supervision(0)
