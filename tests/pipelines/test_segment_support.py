"""A class shown in pictures, found in a video, into a run directory: files, resuming after a crash, broken sources."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from moving_squares import SIZE, picture, write_video
from PIL import Image
from tiny_vipmt import tiny_network, write_pictures

from fewmask.errors import ConfigError, FewmaskError, VideoError
from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.pipelines import segment_support
from fewmask.pipelines.runner import _Stored, _stored
from fewmask.pipelines.segment import run_segment
from fewmask.pipelines.segment_request import ClassShown, RunOptions
from fewmask.vipmt.model import VIPMT

FRAMES = 74


class Killed(BaseException):
    """Stands for the process dying: nothing catches it."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(VIPMT(tiny_network()).save_pretrained(tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture(scope="module")
def supports(tmp_path_factory):
    root = tmp_path_factory.mktemp("supports")
    write_pictures(root / "warm", 2, seed=1)
    write_pictures(root / "cold", 1, seed=2)
    write_pictures(root / "not", 1, seed=3)
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "squares.mp4", FRAMES)


@pytest.fixture(scope="module")
def segment(weights, supports):
    def run(out, source, *, die_at=None, **options):
        def progress(done, total):
            if die_at is not None and done > die_at:
                raise Killed

        wanted = {"support": supports, **options}
        own = {name: wanted.pop(name) for name in ClassShown.__dataclass_fields__ if name in wanted}
        run = RunOptions(
            source=str(source), out=out, **{"weights": weights, "device": "cpu", "overlay": False, **wanted}
        )
        return run_segment(run, ClassShown(**own), progress)

    return run


@pytest.fixture(scope="module")
def whole(segment, clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, segment(out, clip, overlay=True)


def test_writes_every_class_with_its_confidence_in_every_frame(whole, weights, supports, clip):
    out, summary = whole
    tracks = json.loads((out / "tracks.json").read_text())
    direct = VIPMT.from_pretrained(weights, device="cpu").fit(supports).segment(clip)
    assert summary.frames == direct.length == FRAMES
    assert {track["category_id"] for track in tracks} <= {1, 2}
    for track in tracks:
        (same,) = [t for t in direct.tracks if t.category_id == track["category_id"]]
        assert track["segmentations"] == list(same.masks)
        assert track["score"] == pytest.approx(same.score)
        assert len(track["frame_scores"]) == FRAMES
        assert all(0 < score < 1 for score in track["frame_scores"])
    with open_frames(out / "overlay.mp4") as overlay:
        assert (overlay.length, overlay.size) == (FRAMES, SIZE)
    pixels = np.asarray(Image.open(out / "masks" / "00007.png"))
    for track in tracks:
        mask = track["segmentations"][7]
        found = rle.decode(mask) if mask else np.zeros(SIZE, dtype=bool)
        assert np.array_equal(pixels == track["track_id"], found)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["settings"]["supports"] == {"cold": 1, "warm": 2}


@pytest.mark.parametrize(("instances", "die_at"), [("none", 2), ("none", 70), ("components", 70)])
def test_a_killed_run_resumes_to_the_same_files(segment, clip, tmp_path, die_at, instances, monkeypatch):
    expected, out = tmp_path / "expected", tmp_path / "run"
    segment(expected, clip, masks=False, instances=instances)
    with pytest.raises(Killed):
        segment(out, clip, die_at=die_at, masks=False, instances=instances)
    assert not (out / "tracks.json").exists()
    seen = []
    step = segment_support.ClipStream.step
    monkeypatch.setattr(
        segment_support.ClipStream, "step", lambda self, frames: seen.extend(frames) or step(self, frames)
    )
    segment(out, clip, resume=True, masks=False, instances=instances)
    assert len(seen) == (FRAMES if die_at < 66 else FRAMES - 66)
    for name in ("tracks.json", "results.spool"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()


def test_a_finished_run_computes_nothing_when_resumed(segment, clip, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(whole[0], out)
    monkeypatch.setattr(segment_support.ClipStream, "step", None)
    assert segment(out, clip, resume=True, overlay=True).frames == FRAMES


def test_resuming_with_other_supports_is_refused(segment, clip, whole, supports, tmp_path):
    out, changed = tmp_path / "run", tmp_path / "supports"
    shutil.copytree(whole[0], out)
    shutil.copytree(supports, changed)
    write_pictures(changed / "warm", 2, seed=9)
    with pytest.raises(ConfigError, match="support"):
        segment(out, clip, resume=True, overlay=True, support=changed)


def test_broken_frames(segment, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(9):
        Image.fromarray(picture(t)).save(folder / f"f{t}.png")
    (folder / "f4.png").write_bytes(b"not a picture")
    with pytest.raises(VideoError, match=r"f4\.png.*4 frames before it"):
        segment(tmp_path / "strict", folder)
    tracks = json.loads((tmp_path / "strict" / "tracks.json").read_text())
    assert [len(track["segmentations"]) for track in tracks] == [4] * len(tracks)
    assert json.loads((tmp_path / "strict" / "manifest.json").read_text())["status"] == "failed"
    summary = segment(tmp_path / "lenient", folder, skip_broken=True)
    track = json.loads((tmp_path / "lenient" / "tracks.json").read_text())[0]
    assert summary.frames == 9
    assert track["segmentations"][4] is None
    assert track["frame_scores"][4] is None
    assert track["frame_scores"][5] is not None


def test_no_state_is_kept_after_a_clip_cut_short_by_a_broken_frame(segment, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(67):
        Image.fromarray(picture(t)).save(folder / f"f{t}.png")
    (folder / "f64.png").write_bytes(b"not a picture")
    with pytest.raises(VideoError):
        segment(tmp_path / "run", folder, masks=False)
    from fewmask.media.spool import ResultSpool

    with contextlib.closing(ResultSpool(tmp_path / "run" / "results.spool")) as spool:
        assert _stored(spool) == _Stored()


def test_negatives_may_come_from_a_folder_of_their_own(segment, clip, supports, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(supports / "warm", alone)
    segment(tmp_path / "with", clip, support=alone, negative=supports / "not", masks=False)
    segment(tmp_path / "without", clip, support=alone, masks=False)
    areas = {}
    for name in ("with", "without"):
        (track,) = json.loads((tmp_path / name / "tracks.json").read_text()) or [{"segmentations": []}]
        areas[name] = sum(rle.area(mask) for mask in track["segmentations"] if mask)
    assert 0 <= areas["with"] < areas["without"]


def test_exports(segment, clip, tmp_path):
    summary = segment(tmp_path / "run", clip, masks=False, exports=("cvat", "label-studio", "coco"))
    assert {path.name for path in summary.files} == {
        "tracks.json", "cvat.xml", "cvat_labels.json", "label_studio.json", "label_studio.xml", "images", "coco.json"
    }  # fmt: skip
    assert len(json.loads((tmp_path / "run" / "coco.json").read_text())["images"]) == FRAMES


@pytest.mark.parametrize(("options", "named"), [
    ({"support": Path("nothing")}, "nothing"),
    ({"negative": Path("nowhere")}, "--negative"),
    ({"instances": "some"}, "components"),
    ({"weights": "nowhere"}, "nowhere"),
    ({"exports": ("voc",)}, "voc"),
])  # fmt: skip
def test_impossible_requests_are_refused_before_any_work(segment, clip, tmp_path, options, named):
    with pytest.raises(FewmaskError, match=named):
        segment(tmp_path / "run", clip, **options)
    assert not (tmp_path / "run").exists()
