import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from synth_scene import NAMES, write_scene

from fewmask.datasets.coco import read_coco
from fewmask.datasets.copy_paste import load_cut_outs
from fewmask.datasets.synth import SynthConfig, synthesise, synthetic_video
from fewmask.datasets.synth_background import load_backgrounds
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import ConfigError, DatasetError, FewmaskError
from fewmask.media import rle

TINY = SynthConfig(
    frames=16, height=48, width=64, objects=(2, 4), object_size=(0.3, 0.8), occlusion="heavy", motion=2, photometric=0.3
)
SETTINGS = {"seed": 11, "config": TINY, "min_side": 8.0}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("scene"), images=12)


@pytest.fixture(scope="module")
def written(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "out"
    synthesise(scene, None, out, videos=5, **SETTINGS)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest, which says when the run was."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_file_says_what_is_in_the_frames(written, scene):
    dataset = read_ytvis(written / "instances.json")
    raw = json.loads((written / "instances.json").read_text())
    assert [video.id for video in dataset.videos] == [1, 2, 3, 4, 5]
    assert [annotation.id for annotation in dataset.annotations] == list(range(1, len(dataset.annotations) + 1))
    assert {category.id: category.name for category in dataset.categories} == NAMES
    source = read_coco(scene)
    cut_outs = load_cut_outs(source, min_side=8.0)
    backgrounds = load_backgrounds(source, rule="inpaint", categories=set(NAMES))
    hidden_somewhere = absent_somewhere = 0
    for index, entry in enumerate(dataset.videos):
        video = synthetic_video(cut_outs, backgrounds, TINY, (11, index))
        tracks = [a for a in raw["annotations"] if a["video_id"] == entry.id]
        assert len(tracks) == len(video.masks)
        for row, track in enumerate(tracks):
            assert track["category_id"] == video.category_ids[row]
            assert track["source_annotation_id"] == video.annotation_ids[row]
            for frame, mask in enumerate(video.masks[row]):
                found, share = track["segmentations"][frame], video.occlusion[row, frame]
                score, level = track["occlusion_scores"][frame], track["occlusion"][frame]
                if not mask.any():
                    absent_somewhere += 1
                    assert found is track["areas"][frame] is track["bboxes"][frame] is level is None
                    assert score is None or score == 1.0
                    continue
                np.testing.assert_array_equal(rle.decode(found), mask)
                assert track["areas"][frame] == mask.sum()
                y, x = np.nonzero(mask)
                assert track["bboxes"][frame] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
                assert score == pytest.approx(float(share), abs=1e-4)
                assert (
                    level == ["no_occlusion", "slight_occlusion", "severe_occlusion"][(score >= 0.05) + (score >= 0.5)]
                )
                hidden_somewhere += score > 0
        for frame, name in enumerate(entry.file_names):
            picture = cv2.imread(str(written / "JPEGImages" / name))[..., ::-1]
            assert abs(picture.astype(int) - video.frames[frame]).mean() < 3
    assert hidden_somewhere
    assert absent_somewhere


def test_two_workers_write_the_same_bytes_as_one(written, scene, tmp_path):
    synthesise(scene, None, tmp_path / "two", videos=5, workers=2, **SETTINGS)
    assert contents(tmp_path / "two") == contents(written)


def test_an_interrupted_run_is_finished_to_the_same_bytes(written, scene, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(written, out)
    (out / "instances.json").unlink()
    (out / "records" / "00001.json").unlink()
    (out / "JPEGImages" / "00001" / "00003.jpg").write_bytes(b"half a fra")
    (out / "records" / "00004.json").unlink()
    shutil.move(out / "JPEGImages" / "00004", out / "JPEGImages" / ".00004.part")
    kept = (out / "JPEGImages" / "00000" / "00000.jpg").stat().st_mtime_ns
    calls = []
    synthesise(scene, None, out, videos=5, resume=True, progress=lambda *now: calls.append(now), **SETTINGS)
    assert contents(out) == contents(written)
    assert (out / "JPEGImages" / "00000" / "00000.jpg").stat().st_mtime_ns == kept
    assert calls == [(4, 5), (5, 5)]


def test_a_run_can_grow(written, scene, tmp_path):
    synthesise(scene, None, tmp_path / "out", videos=2, **SETTINGS)
    synthesise(scene, None, tmp_path / "out", videos=5, resume=True, **SETTINGS)
    assert contents(tmp_path / "out") == contents(written)


def test_a_folder_in_use_is_left_alone(written, scene, tmp_path):
    before = contents(written)
    with pytest.raises(FewmaskError, match="is not empty"):
        synthesise(scene, None, written, videos=5, **SETTINGS)
    with pytest.raises(ConfigError, match="the setting config was"):
        synthesise(scene, None, written, videos=5, resume=True, seed=12, config=replace(TINY, frames=2), min_side=8.0)
    assert contents(written) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FewmaskError, match="there is no run to resume"):
        synthesise(scene, None, tmp_path, videos=1, resume=True, **SETTINGS)
    with pytest.raises(FewmaskError, match="cannot be made a run's folder"):
        synthesise(scene, None, tmp_path / "notes.txt", videos=1, **SETTINGS)


def test_a_damaged_record_is_named(written, scene, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(written, out)
    (out / "records" / "00002.json").write_text("{")
    with pytest.raises(FewmaskError, match=r"00002\.json: not valid JSON .*; delete it"):
        synthesise(scene, None, out, videos=5, resume=True, **SETTINGS)


def test_seen_and_unseen_classes_do_not_mix(scene, tmp_path):
    seen = synthesise(scene, None, tmp_path / "seen", videos=4, hold_out_classes=["disc", "5"], **SETTINGS)
    unseen = synthesise(scene, None, tmp_path / "unseen", videos=4, classes=["disc", "wedge"], **SETTINGS)
    ids = []
    for path, expected in ((seen, {2}), (unseen, {1, 5})):
        dataset = read_ytvis(path)
        assert {category.id for category in dataset.categories} == expected
        assert {annotation.category_id for annotation in dataset.annotations} <= expected
        ids.append({a["source_annotation_id"] for a in json.loads(path.read_text())["annotations"]})
    assert not ids[0] & ids[1]


def test_train_and_val_share_no_source(scene, tmp_path):
    image_of = {a.id: a.image_id for a in read_coco(scene).annotations}
    images = []
    for part in ("train", "val"):
        path = synthesise(scene, None, tmp_path / part, videos=4, part=part, **SETTINGS)
        images.append({image_of[a["source_annotation_id"]] for a in json.loads(path.read_text())["annotations"]})
    assert images[0]
    assert images[1]
    assert not images[0] & images[1]


def test_class_agnostic_has_one_category(written, scene, tmp_path):
    path = synthesise(scene, None, tmp_path / "out", videos=5, class_agnostic=True, **SETTINGS)
    dataset = read_ytvis(path)
    assert [(category.id, category.name) for category in dataset.categories] == [(1, "object")]
    assert {annotation.category_id for annotation in dataset.annotations} == {1}
    with_classes = read_ytvis(written / "instances.json")
    assert [a.segmentations for a in dataset.annotations] == [a.segmentations for a in with_classes.annotations]


def test_mp4_holds_the_same_frames(scene, tmp_path):
    path = synthesise(scene, None, tmp_path / "out", videos=1, video_format="mp4", **SETTINGS)
    document = json.loads(path.read_text())
    assert document["videos"][0]["video_file"] == "videos/00000.mp4"
    assert read_ytvis(path).videos[0].length == 16
    with av.open(str(tmp_path / "out" / "videos" / "00000.mp4")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    source = read_coco(scene)
    video = synthetic_video(
        load_cut_outs(source, min_side=8.0),
        load_backgrounds(source, rule="inpaint", categories=set(NAMES)),
        TINY,
        (11, 0),
    )
    assert decoded.shape == video.frames.shape
    assert abs(decoded.astype(int) - video.frames).mean() < 8  # half colour resolution


def test_what_cannot_work_is_said(scene, tmp_path):
    out = tmp_path / "out"
    for change, message in [
        ({"videos": 0}, "videos must be 1"),
        ({"seed": -1}, "seed must be 0"),
        ({"workers": 0}, "workers must be 1"),
        ({"video_format": "gif"}, "jpg or mp4"),
        ({"video_format": "mp4", "config": replace(TINY, width=63)}, "even frame size"),
        ({"classes": ["unicorn"]}, "no class 'unicorn'; the dataset has disc, box, wedge"),
        ({"hold_out_classes": ["disc", "box", "wedge"]}, "no class is left"),
    ]:
        with pytest.raises(ConfigError, match=message):
            synthesise(scene, None, out, **({"videos": 1} | SETTINGS | change))
    assert not out.exists()


def test_a_missing_picture_stops_the_run_and_keeps_what_is_finished(scene, tmp_path):
    folder = tmp_path / "scene"
    shutil.copytree(scene.parent, folder)
    for picture in (folder / "images").glob("*.png"):
        picture.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        synthesise(folder / "instances.json", None, tmp_path / "out", videos=2, **SETTINGS)
    shutil.copytree(scene.parent / "images", folder / "images", dirs_exist_ok=True)
    path = synthesise(folder / "instances.json", None, tmp_path / "out", videos=2, resume=True, **SETTINGS)
    assert len(read_ytvis(path).videos) == 2
