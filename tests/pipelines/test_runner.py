"""A video into a run directory: files, resuming after a crash at any frame, broken sources."""

import dataclasses
import json

import numpy as np
import pytest
from lxml import etree
from moving_squares import SIZE, SquareSegmenter, picture, write_video
from PIL import Image

from fewmask.errors import ConfigError, DatasetError, VideoError
from fewmask.exports.run_outputs import EXPORTS, Outputs
from fewmask.exports.video_result import VideoResult
from fewmask.media import rle
from fewmask.media.frames import Frame, open_frames
from fewmask.media.run_directory import RunDirectory
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines import runner
from fewmask.pipelines.runner import stream_to_directory
from fewmask.pipelines.segment_request import RunOptions

SETTINGS = StreamSettings(top_k=6, mode="exact", batch=4)


class Killed(BaseException):
    """Stands for the process dying: nothing catches it."""


def start(out, source, *, resume=False):
    return RunDirectory.create(
        out, command=["test"], inputs={"source": str(source)}, settings={"batch": 4}, resume=resume
    )


def run(out, source, *, outputs=None, resume=False, die_at=None, skip_broken=False):
    model = MinVIS(SquareSegmenter())

    def progress(done, total):
        if die_at is not None and done > die_at:
            raise Killed

    directory = start(out, source, resume=resume)
    summary = stream_to_directory(
        model.open_stream(SETTINGS),
        RunOptions(source=str(source), out=out, skip_broken=skip_broken),
        directory,
        outputs or Outputs(min_score=0.5),
        progress=progress,
    )
    return summary, model.segmenter.frames_seen


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "squares.mp4", 150)


@pytest.fixture(scope="module")
def whole(clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, *run(out, clip)


def test_writes_what_users_and_servers_read(whole):
    out, summary, _ = whole
    assert summary.frames == 150
    assert summary.tracks == 3
    tracks = json.loads((out / "tracks.json").read_text())
    assert [list(track) for track in tracks] == [["video_id", "track_id", "category_id", "score", "segmentations"]] * 6
    assert all(len(track["segmentations"]) == 150 for track in tracks)
    assert tracks[0]["segmentations"][0]["size"] == list(SIZE)
    with open_frames(out / "overlay.mp4") as overlay:
        assert overlay.length == 150
        assert overlay.size == SIZE
    masks = sorted((out / "masks").iterdir())
    assert len(masks) == 150
    pixels = np.asarray(Image.open(masks[0]))
    first = rle.decode(tracks[0]["segmentations"][0])
    assert len(np.unique(pixels[first])) == 1
    assert pixels[first][0] > 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["progress"] == {"drawn": 150, "frames": 150, "tracks": 3}


def test_one_object_has_one_id_in_every_file(clip, tmp_path):
    out = tmp_path / "run"
    run(out, clip, outputs=Outputs(overlay=False, exports=("cvat", "label-studio", "coco"), min_score=0.5))
    entries = json.loads((out / "tracks.json").read_text())
    ids = [entry["track_id"] for entry in entries]
    shown = {entry["track_id"]: entry["segmentations"] for entry in entries if entry["track_id"] <= 3}
    assert sorted(ids) == [1, 2, 3, 4, 5, 6]
    first = [next(i for i, mask in enumerate(shown[track_id]) if mask is not None) for track_id in (1, 2, 3)]
    assert first == sorted(first)
    coco = json.loads((out / "coco.json").read_text())
    found = {(a["track_id"], a["image_id"] - 1): a["segmentation"] for a in coco["annotations"]}
    assert found == {(i, t): mask for i, masks in shown.items() for t, mask in enumerate(masks) if mask is not None}
    assert {int(track.get("id")) for track in etree.parse(out / "cvat.xml").iter("track")} == shown.keys()
    for t, task in enumerate(json.loads((out / "label_studio.json").read_text())):
        regions = {region["id"]: region["value"] for region in task["predictions"][0]["result"]}
        assert regions.keys() == {f"track-{i}" for i, masks in shown.items() if masks[t] is not None}
    for t in (0, 70, 149):
        pixels = np.asarray(Image.open(out / "masks" / f"{t:05d}.png"))
        assert set(np.unique(pixels)) == {0} | {i for i, masks in shown.items() if masks[t] is not None}
        for i, masks in shown.items():
            if masks[t] is not None:
                assert (pixels[rle.decode(masks[t])] == i).mean() > 0.9  # but where another is on top


def test_results_are_read_back(whole, clip):
    out, *_ = whole
    entries = json.loads((out / "tracks.json").read_text())
    video = VideoResult.from_run(out)
    assert (video.name, video.size, video.length, video.fps) == ("squares", SIZE, 150, 10.0)
    assert video.categories == {1: "warm", 2: "cold"}
    assert [(t.track_id, t.category_id, t.score, list(t.masks)) for t in video.tracks] == [
        (e["track_id"], e["category_id"], e["score"], e["segmentations"]) for e in entries
    ]
    assert VideoResult.from_file(out / "tracks.json") == video
    assert {track.track_id for track in VideoResult.from_run(out, shown_only=True).tracks} == {1, 2, 3}
    by_hand = VideoResult.from_file(out / "tracks.json", categories={1: "a", 2: "b"})
    assert (by_hand.size, by_hand.tracks, by_hand.categories) == (SIZE, video.tracks, {1: "a", 2: "b"})
    with pytest.raises(DatasetError, match=r"video\.json: cannot be read"):
        VideoResult.from_run(clip.parent)


def test_results_are_drawn_from_the_run(whole, clip, tmp_path):
    video = VideoResult.from_run(whole[0], shown_only=True)
    assert video.source == str(clip.resolve())
    assert repr(video) == f"VideoResult('squares', 150 frames of {SIZE[0]}x{SIZE[1]}, 3 tracks)"
    plain = picture(7).astype(int)
    drawn = video.plot(7)
    assert np.array_equal(drawn, video.plot(Frame(7, 0.7, picture(7)))) or np.abs(drawn - plain).max() > 30
    assert drawn.shape == (*SIZE, 3)
    with pytest.raises(DatasetError, match="frame 900"):
        video.plot(900)
    with open_frames(video.save_overlay(tmp_path / "again.mp4")) as overlay:
        assert (overlay.length, overlay.size) == (150, SIZE)
    with pytest.raises(DatasetError, match="say where it is"):
        dataclasses.replace(video, source=None).save_overlay(tmp_path / "b.mp4")


@pytest.mark.parametrize("die_at", [1, 63, 64, 66, 129, 149])
def test_a_killed_run_resumes_to_the_same_files(whole, clip, tmp_path, die_at):
    expected, _, frames = whole
    out = tmp_path / "run"
    with pytest.raises(Killed):
        run(out, clip, die_at=die_at)
    assert not (out / "tracks.json").exists()
    _, seen = run(out, clip, resume=True)
    assert seen <= frames - 64 * (die_at // 64)
    for name in ("tracks.json", "results.spool"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()
    assert [p.name for p in sorted(out.iterdir())] == [p.name for p in sorted(expected.iterdir())]


def test_a_finished_run_can_be_resumed_and_computes_nothing(whole, clip, tmp_path):
    out = tmp_path / "run"
    run(out, clip)
    _, seen = run(out, clip, resume=True)
    assert seen == 0


def test_without_resume_a_used_folder_is_refused(whole, clip):
    with pytest.raises(ConfigError, match="--resume"):
        start(whole[0], clip)


def test_a_truncated_video_keeps_what_came_before(clip, tmp_path):
    data = clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * 0.6)])
    out = tmp_path / "run"
    with pytest.raises(VideoError, match=r"frames before it are in"):
        run(out, cut)
    tracks = json.loads((out / "tracks.json").read_text())
    usable = len(tracks[0]["segmentations"])
    assert 20 < usable < 150
    with open_frames(out / "overlay.mp4") as overlay:
        assert overlay.length == usable
    assert json.loads((out / "manifest.json").read_text())["status"] == "failed"


def test_a_broken_picture_in_a_folder(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(9):
        Image.fromarray(picture(t)).save(folder / f"f{t}.png")
    (folder / "f5.png").write_bytes(b"not a picture")
    with pytest.raises(VideoError, match=r"f5\.png"):
        run(tmp_path / "strict", folder)
    assert len(json.loads((tmp_path / "strict" / "tracks.json").read_text())[0]["segmentations"]) == 5
    summary, _ = run(tmp_path / "lenient", folder, skip_broken=True)
    tracks = json.loads((tmp_path / "lenient" / "tracks.json").read_text())
    assert summary.frames == 9
    assert tracks[0]["segmentations"][5] is None
    assert tracks[0]["segmentations"][6] is not None
    video = VideoResult.from_run(tmp_path / "lenient")
    assert video.annotated_frames == (0, 1, 2, 3, 4, 6, 7, 8)
    assert video.file_names == tuple(f"f{t}.png" for t in range(9))


def test_exports_for_annotation_tools(clip, tmp_path):
    out = tmp_path / "run"
    summary, _ = run(out, clip, outputs=Outputs(overlay=False, masks=False, exports=tuple(EXPORTS), min_score=0.5))
    assert [path.name for path in summary.files] == [
        "tracks.json", "images", "cvat.xml", "cvat_labels.json", "cvat_masks.xml", "cvat_labels.json",
        "label_studio.json", "label_studio.xml", "label_studio_boxes.json", "label_studio_boxes.xml", "coco.json",
    ]  # fmt: skip
    assert "<track" in (out / "cvat.xml").read_text()
    images = json.loads((out / "coco.json").read_text())["images"]
    assert len(images) == 150
    for t, image in enumerate(images):
        rgb = np.asarray(Image.open(out / "images" / image["file_name"])).astype(int)
        assert np.abs(rgb - picture(t)).mean() < 12
    assert [label["name"] for label in json.loads((out / "cvat_labels.json").read_text())] == ["warm", "cold"]
    config = etree.parse(out / "label_studio.xml")
    assert [label.get("value") for label in config.iter("Label")] == ["warm", "cold"]


def test_an_unknown_export_is_refused_before_any_work(clip, tmp_path):
    with pytest.raises(ConfigError, match="coco"):
        run(tmp_path / "run", clip, outputs=Outputs(exports=("voc",)))


def test_a_source_that_broke_off_once_is_whole_everywhere_after_resume(clip, whole, tmp_path, monkeypatch):
    """As an http source does: the first run writes what came, the second one all of it, the overlay too."""

    class BreaksOff:
        def __init__(self, source):
            self._source = source

        def __getattr__(self, name):
            return getattr(self._source, name)

        def __iter__(self):
            for frame in self._source:
                if frame.index == 62:
                    raise VideoError("http://h/v.mp4: the connection was lost before frame 62")
                yield frame

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._source.close()

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "open_frames", lambda *arguments, **named: BreaksOff(open_frames(*arguments, **named)))
        with pytest.raises(VideoError, match="lost before frame 62"):
            run(out, clip)
    assert video_length(out / "overlay.mp4") == 62
    assert status(out) == "failed"
    run(out, clip, resume=True)
    assert status(out) == "finished"
    assert video_length(out / "overlay.mp4") == 150
    assert (out / "tracks.json").read_bytes() == (whole[0] / "tracks.json").read_bytes()
    drawn = (out / "overlay.mp4").stat().st_mtime_ns
    run(out, clip, resume=True)
    assert (out / "overlay.mp4").stat().st_mtime_ns == drawn


def video_length(path):
    with open_frames(path) as frames:
        return sum(1 for _ in frames)


def status(out):
    return json.loads((out / "manifest.json").read_text())["status"]


def test_a_picture_too_long_for_anything_is_told_before_the_work(tmp_path):
    image = tmp_path / "long.png"
    Image.fromarray(np.zeros((16, 20_000, 3), np.uint8)).save(image)
    with pytest.raises(VideoError, match="long: frames of 20000x16 pixels cannot be used"):
        run(tmp_path / "run", image)
