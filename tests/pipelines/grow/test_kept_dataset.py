"""What was kept, written and read back by the project's own readers."""

import json

import pytest
from small_found import SIZE, found_video, judged, square, write_video

from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.pipelines.grow.find import FoundVideo
from fewmask.pipelines.grow.kept_dataset import write_kept


def test_written_and_read_back(tmp_path):
    source = write_video(tmp_path / "video")
    found = found_video("walk", source)
    video = judged(found, {1: (0, "kept"), 2: (0, "unsure")})
    counts = write_kept(tmp_path / "kept", [video], ("dog",), 2, held_out=frozenset({"walk"}))
    assert counts == {"pictures": 4, "masks": 4, "unknown": 4, "objects": 4, "tracks": 1}
    coco = read_coco(tmp_path / "kept" / "instances.json", tmp_path / "kept" / "images")
    assert coco.categories == {1: "object", 2: "dog"}
    assert all(image.extra["held_out"] for image in coco.images)
    assert [image.extra["frame_index"] for image in coco.images] == [0, 2, 4, 6]
    for image in coco.images:
        assert coco.path_of(image).is_file()
        by_track = {annotation.extra["track_id"]: annotation for annotation in coco.annotations_of[image.id]}
        assert {track: (a.category_id, a.iscrowd) for track, a in by_track.items()} == {
            1: (2, False),
            2: (2, True),
            3: (1, False),
        }
        wanted = rle.encode(square(image.extra["frame_index"], 0))
        assert by_track[1].mask["counts"] == wanted["counts"]
        assert by_track[1].extra["evidence"]["look"] == 0.9
    ytvis = read_ytvis(tmp_path / "kept" / "ytvis.json")
    assert [(a.category_id, sum(m is not None for m in a.segmentations)) for a in ytvis.annotations] == [(2, 4), (1, 4)]


def test_frames_are_spaced_by_what_was_looked_at(tmp_path):
    source = write_video(tmp_path / "video", frames=12)
    found = found_video("walk", source, frames=12, step=3)
    write_kept(tmp_path / "kept", [judged(found, {1: (0, "kept")})], ("dog",), 2, held_out=frozenset())
    images = json.loads((tmp_path / "kept" / "instances.json").read_text())["images"]
    assert [image["frame_index"] for image in images] == [0, 6]


def test_a_video_of_unknowns_alone_has_no_pictures(tmp_path):
    found = found_video("walk", write_video(tmp_path / "video"), tracks=1)
    counts = write_kept(tmp_path / "kept", [judged(found, {1: (0, "unsure")})], ("dog",), 1, held_out=frozenset())
    assert counts["pictures"] == counts["masks"] == 0


def test_found_videos_are_read_back(tmp_path):
    found = found_video("walk", "walk.mp4", kinds=("dog", "cat"))
    found.write(tmp_path / "walk.json")
    again = FoundVideo.read(tmp_path / "walk.json")
    assert again == found
    assert again.size == SIZE


@pytest.mark.parametrize("key", ["tracks", "size", "kinds", "video"])
def test_damaged_found_videos_are_one_line(tmp_path, key):
    path = tmp_path / "walk.json"
    found_video("walk", "walk.mp4").write(path)
    record = json.loads(path.read_text())
    for value in (None, 3, "x", [{}]):
        path.write_text(
            json.dumps({**record, key: value})
            if value is not None
            else json.dumps({name: kept for name, kept in record.items() if name != key})
        )
        if key == "video" and value is not None:
            continue
        with pytest.raises(DatasetError) as error:
            FoundVideo.read(path)
        assert "\n" not in str(error.value)
