"""A teacher's labels: a detector that finds bright squares, a segmenter that draws them, and what comes out."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fewmask.cli.main import app
from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import CheckpointError, ConfigError, DatasetError
from fewmask.media import rle
from fewmask.media.writer import VideoWriter
from fewmask.minvis.training_data import coco_data, ytvis_data
from fewmask.models import sam_masks
from fewmask.models.onnx_detector import STRIDES, OnnxDetector, box_iou
from fewmask.models.sam_masks import PromptedMasks, TransformersSam
from fewmask.pipelines import label as label_module
from fewmask.pipelines.label import LabelRequest, run_label
from fewmask.pipelines.teacher import Certainty, without_specks

SIDE, CLASSES = 64, 3
CELLS = sum((SIDE // stride) ** 2 for stride in STRIDES)
SHAPES = {"yolox": [1, CELLS, 5 + CLASSES], "yolov5": [1, 3 * CELLS, 5 + CLASSES], "yolov8": [1, 4 + CLASSES, CELLS]}
# A square's red channel says its class and how sure the detector is of it.
SURE, UNSURE = (0, 0.9), (1, 0.3)
COLOURS = {SURE: (250, 200, 200), UNSURE: (210, 200, 200)}


def squares_in(rgb):
    """(x, y, width, height, (class, score)) of every square in a picture uint8 or float 0..255, RGB."""
    for what, colour in COLOURS.items():
        mask = (np.abs(rgb[..., 0].astype(float) - colour[0]) < 12) & (rgb[..., 1] > 150) & (rgb[..., 2] > 150)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        for x, y, width, height, area in stats[1:count]:
            if area >= 12:
                yield x, y, width, height, what


class FakeSession:
    """What onnxruntime would run: the squares of the picture in the layout that its file name says."""

    def __init__(self, path, options, providers):
        if "broken" in path:
            raise RuntimeError("no protobuf\nsecond line")
        self.layout = next((name for name in SHAPES if name in path), None)

    def get_inputs(self):
        return [SimpleNamespace(name="images", shape=[1, 3, SIDE, SIDE])]

    def get_outputs(self):
        return [SimpleNamespace(shape=SHAPES.get(self.layout, [1, 7, 7]))]

    def run(self, wanted, given):
        pixels = given["images"][0].transpose(1, 2, 0)
        rgb = pixels[..., ::-1] if self.layout == "yolox" else pixels * 255
        assert rgb.max() > 100
        rows = np.zeros((max(SHAPES[self.layout][1:]), 5 + CLASSES), np.float32)
        for x, y, width, height, (label, score) in squares_in(rgb):
            centre, size = np.array([x + width / 2, y + height / 2]), np.array([width, height], float)
            cell = int(centre[1] // 8) * (SIDE // 8) + int(centre[0] // 8)
            if self.layout == "yolox":
                rows[cell, :2], rows[cell, 2:4] = centre / 8 - centre // 8, np.log(size / 8)
            else:
                rows[cell, :2], rows[cell, 2:4] = centre, size
            rows[cell, 4], rows[cell, 5 + label] = 1.0, score
        if self.layout == "yolov8":
            return [np.concatenate((rows[:, :4], rows[:, 5:]), 1).T[None]]
        return [rows[None]]


class FakeSegmenter:
    """Fills the boxes."""

    def masks(self, rgb, boxes):
        drawn = np.zeros((len(boxes), *rgb.shape[:2]), bool)
        for mask, (x0, y0, x1, y1) in zip(drawn, np.round(boxes).astype(int), strict=True):
            mask[y0:y1, x0:x1] = True
        return PromptedMasks(drawn, np.full(len(boxes), 0.9, np.float32))


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    module = SimpleNamespace(SessionOptions=SimpleNamespace, InferenceSession=FakeSession)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.setattr(label_module, "load_box_prompted", lambda *_, **__: FakeSegmenter())


def picture(*squares, size=(48, 64)):
    rgb = np.full((*size, 3), 30, np.uint8)
    for left, top, side, what in squares:
        rgb[top : top + side, left : left + side] = COLOURS[what]
    return rgb


def detector_file(folder, layout="yolox"):
    path = folder / f"{layout}.onnx"
    path.write_bytes(b"x")
    return path


def names_file(folder):
    path = folder / "names.txt"
    path.write_text("one\ntwo\nthree\n")
    return path


def write_pictures(folder):
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture((4, 6, 16, SURE), (40, 20, 12, UNSURE))[..., ::-1])
    cv2.imwrite(str(folder / "b.png"), picture()[..., ::-1])
    (folder / "sub").mkdir()
    cv2.imwrite(str(folder / "sub" / "c.png"), picture((20, 10, 20, SURE))[..., ::-1])
    return folder


def request_of(tmp_path, sources, **changes):
    return LabelRequest(
        **{
            "sources": sources, "out": tmp_path / "out", "detector": detector_file(tmp_path), "segmenter": "fake",
            "names": names_file(tmp_path),
        } | changes
    )  # fmt: skip


@pytest.mark.parametrize("layout", SHAPES)
def test_every_layout_gives_the_same_boxes(tmp_path, layout):
    detector = OnnxDetector(detector_file(tmp_path, layout))
    assert detector.classes == CLASSES
    found = detector.detect(picture((4, 6, 16, SURE), (40, 20, 12, UNSURE)))
    np.testing.assert_allclose(found.corners, [[4, 6, 20, 22], [40, 20, 52, 32]], atol=0.2)
    np.testing.assert_allclose(found.scores, [0.9, 0.3], atol=1e-5)
    assert found.labels.tolist() == [0, 1]


def test_a_picture_of_another_size_is_letterboxed_and_boxes_come_back_in_its_pixels(tmp_path):
    found = OnnxDetector(detector_file(tmp_path)).detect(picture((80, 20, 60, SURE), size=(96, 192)))
    np.testing.assert_allclose(found.corners, [[80, 20, 140, 80]], atol=4)


def test_what_only_one_of_the_two_views_shows_counts_half(tmp_path, monkeypatch):
    views = []

    def once(self, wanted, given):
        views.append(given)
        return run(self, wanted, given) if len(views) == 1 else [np.zeros(SHAPES["yolox"], np.float32)]

    run = FakeSession.run
    monkeypatch.setattr(FakeSession, "run", once)
    assert OnnxDetector(detector_file(tmp_path)).detect(picture((4, 6, 16, SURE))).scores == pytest.approx([0.45])


def test_iou_of_boxes_by_pixels():
    random = np.random.default_rng(0)
    low = random.integers(0, 20, (6, 2))
    boxes = np.concatenate((low, low + random.integers(1, 15, (6, 2))), 1).astype(np.float32)
    pixels = np.zeros((6, 40, 40), bool)
    for mask, (x0, y0, x1, y1) in zip(pixels, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
    both = (pixels[:, None] & pixels[None]).sum((2, 3))
    either = (pixels[:, None] | pixels[None]).sum((2, 3))
    np.testing.assert_allclose(box_iou(boxes, boxes), both / either, rtol=1e-5)


def test_pictures_become_coco_and_doubts_unknown_regions(tmp_path):
    folder = write_pictures(tmp_path / "in")
    done = run_label(request_of(tmp_path, [folder]))
    assert (done.pictures, done.objects, done.doubts) == (3, 2, 1)
    dataset = read_coco(done.annotations, folder)
    assert [image.file_name for image in dataset.images] == ["a.png", "b.png", "sub/c.png"]
    assert dataset.categories == {1: "one", 2: "two", 3: "three"}
    first, second, third = dataset.annotations
    assert (first.iscrowd, second.iscrowd, third.iscrowd) == (False, True, False)
    assert first.extra == {"score": 0.9, "mask_quality": 0.9}
    assert first.area == 256
    assert second.category_id == 2
    frame = coco_data(dataset, class_agnostic=False).videos[0][0].load()
    assert frame.unknown[20:32, 40:52].all()
    assert frame.unknown.sum() == 144
    assert frame.masks.sum() == 256


def test_videos_become_tracks(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", (48, 64), 10.0) as writer:
        for t in range(40):
            writer.write(picture((2 + t, 6, 14, SURE), (40, 30, 12, UNSURE)))
    done = run_label(request_of(tmp_path, [tmp_path / "v.mp4"], every=4))
    assert (done.pictures, done.objects, done.doubts) == (10, 10, 10)
    dataset = read_ytvis(done.annotations)
    (video,) = dataset.videos
    assert video.file_names[:2] == ("v/00000.jpg", "v/00004.jpg")
    track, unknown = dataset.annotations
    assert all(mask is not None for mask in track.segmentations)
    assert not track.iscrowd
    assert unknown.iscrowd
    frames = ytvis_data(dataset, tmp_path / "out" / "JPEGImages", class_agnostic=False).videos[0]
    assert len(frames) == 10
    assert frames[3].load().unknown.sum() == pytest.approx(144, abs=40)


def test_frames_without_an_object_are_part_of_a_video(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", (48, 64), 10.0) as writer:
        for t in range(30):
            writer.write(picture(*[(2 + t, 6, 14, SURE)] * (t < 10)))
    done = run_label(request_of(tmp_path, [tmp_path / "v.mp4"], every=5))
    assert (done.pictures, done.objects, done.doubts) == (6, 2, 0)


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch, cut):
    folder = write_pictures(tmp_path / "in")
    whole = run_label(request_of(tmp_path, [folder], out=tmp_path / "whole")).annotations.read_text()
    labelled = []

    def stopping(done, total):
        if done == cut + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_label(request_of(tmp_path, [folder]), stopping)
    draw = FakeSegmenter.masks
    monkeypatch.setattr(FakeSegmenter, "masks", lambda *given: labelled.append(1) or draw(*given))
    assert run_label(request_of(tmp_path, [folder], resume=True)).annotations.read_text() == whole
    assert len(labelled) == 3 - cut - 1


def test_thresholds_decide_what_is_sure(tmp_path):
    folder = write_pictures(tmp_path / "in")
    all_sure = run_label(request_of(tmp_path, [folder], certainty=Certainty(score=0.2)))
    assert (all_sure.objects, all_sure.doubts) == (3, 0)
    none = request_of(tmp_path, [folder], out=tmp_path / "b", certainty=Certainty(quality=0.95, doubt=0.5))
    assert (run_label(none).objects, run_label(none.__class__(**{**vars_of(none), "resume": True})).doubts) == (0, 2)


def vars_of(request):
    return {name: getattr(request, name) for name in request.__dataclass_fields__}


@pytest.mark.parametrize(
    ("sources", "changes", "said"),
    [
        (["nowhere"], {}, "no such file or folder"),
        (["in", "in"], {}, "give one folder of pictures"),
        (["in"], {"names": None}, "3 classes, 80 names"),
        (["in"], {"every": 0}, "must be 1 or more"),
    ],
)
def test_impossible_requests_are_refused_in_one_line(tmp_path, sources, changes, said):
    write_pictures(tmp_path / "in")
    with pytest.raises(ConfigError, match=said):
        run_label(request_of(tmp_path, [tmp_path / source for source in sources], **changes))
    assert not (tmp_path / "out").exists()


def test_an_unreadable_picture_is_named_and_nothing_is_lost(tmp_path):
    folder = write_pictures(tmp_path / "in")
    (folder / "b.png").write_bytes(b"not a picture")
    done = run_label(request_of(tmp_path, [folder]))
    assert done.skipped == ("b.png",)
    assert (done.pictures, done.objects) == (2, 2)


def test_an_empty_folder_and_detectors_that_are_none(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no picture"):
        run_label(request_of(tmp_path, [tmp_path / "empty"]))
    with pytest.raises(CheckpointError, match="no protobuf") as caught:
        OnnxDetector(tmp_path / "broken.onnx")
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="none of yolox, yolov5 or yolov8"):
        OnnxDetector(tmp_path / "other.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"fewmask\[onnx\]"):
        OnnxDetector(tmp_path / "yolox.onnx")


def test_specks_go_and_holes_close():
    mask = np.zeros((40, 40), bool)
    mask[5:30, 5:30] = True
    mask[10:12, 10:12] = False  # a hole of 4 in 625
    mask[35, 35] = True  # a speck
    mask[12:24, 14:28] = False  # a hole that is one
    whole = without_specks(mask)
    assert whole[10:12, 10:12].all()
    assert not whole[35, 35]
    assert not whole[12:24, 14:28].any()


def test_the_verb_says_what_it_did(tmp_path):
    folder = write_pictures(tmp_path / "in")
    result = CliRunner().invoke(
        app,
        ["label", str(folder), "--teacher", str(detector_file(tmp_path)), "--masks", "fake", "--names",
         str(names_file(tmp_path)), "--out", str(tmp_path / "out"), "--device", "cpu", "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout.strip().splitlines()[-1])
    assert (said["pictures"], said["objects"], said["doubts"]) == (3, 2, 1)


def test_a_sam_of_transformers_draws_one_mask_per_box_at_the_size_of_the_picture(tmp_path):
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    config = SamConfig()
    config.vision_config.update({"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16,
                                 "image_size": 64, "global_attn_indexes": [0], "output_channels": 32,
                                 "num_pos_feats": 16})  # fmt: skip
    config.prompt_encoder_config.update({"hidden_size": 32, "image_size": 64, "image_embedding_size": 4})
    config.mask_decoder_config.update({"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2,
                                       "iou_head_hidden_dim": 32})  # fmt: skip
    SamModel(config).save_pretrained(tmp_path)
    processor = SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    SamProcessor(processor).save_pretrained(tmp_path)
    model = TransformersSam(str(tmp_path))
    found = model.masks(picture((4, 6, 16, SURE)), np.array([[4, 6, 20, 22], [0, 0, 9, 9]], np.float32))
    assert found.masks.shape == (2, 48, 64)
    assert found.quality.shape == (2,)
    assert model.masks(picture(), np.zeros((0, 4), np.float32)).masks.shape == (0, 48, 64)
    with pytest.raises(CheckpointError, match="not a SAM-like model"):
        TransformersSam(str(tmp_path / "nothing"))


DATA = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[3] / "shared"))


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "weights" / "yolox_nano.onnx").is_file(), reason="needs FEWMASK_DATA")
def test_a_real_teacher_finds_a_real_dog(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "onnxruntime")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(label_module, "load_box_prompted", sam_masks.load_box_prompted)
    done = run_label(
        LabelRequest(
            [DATA / "data" / "pool" / "dog_run.mp4"], tmp_path / "out", DATA / "weights" / "yolox_nano.onnx",
            str(DATA / "weights" / "mobile_sam.safetensors"), every=100,
        )
    )  # fmt: skip
    dataset = read_ytvis(done.annotations)
    names = {category.id: category.name for category in dataset.categories}
    dogs = [a for a in dataset.annotations if names[a.category_id] == "dog" and not a.iscrowd]
    assert dogs
    assert max(rle.area(mask) for a in dogs for mask in a.segmentations if mask) > 1000
