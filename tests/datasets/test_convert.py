"""Every conversion that the information allows, there and back, and the refusals of the others."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from small_datasets import (
    comparable,
    davis_tree,
    labelme_folder,
    mask_folders,
    save_picture,
    track_datasets,
    vspw_tree,
    ytvis_dataset,
)

from fewmask.datasets.coco import read_coco, write_coco
from fewmask.datasets.convert import ConvertOptions, convert_data
from fewmask.datasets.davis import read_davis
from fewmask.datasets.formats import detect_format
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.errors import DatasetError
from fewmask.media import rle


def ytvis_file(folder: Path) -> Path:
    """A YouTube-VIS file with its frames."""
    dataset = ytvis_dataset()
    for video in dataset.videos:
        for name in video.file_names:
            save_picture(folder / "JPEGImages" / name)
    write_ytvis(folder / "instances.json", dataset)
    return folder / "instances.json"


def test_formats_are_recognised(tmp_path: Path) -> None:
    assert detect_format(davis_tree(tmp_path / "davis")) == "davis"
    assert detect_format(vspw_tree(tmp_path / "vspw")) == "vspw"
    assert detect_format(mask_folders(tmp_path / "folders", videos=True)) == "folders"
    assert detect_format(labelme_folder(tmp_path / "labelme")) == "labelme"
    assert detect_format(tmp_path / "labelme/clip/0.json") == "labelme"
    assert detect_format(ytvis_file(tmp_path / "ytvis")) == "ytvis"
    convert_data(tmp_path / "ytvis/instances.json", tmp_path / "coco.json")
    assert detect_format(tmp_path / "coco.json") == "coco"
    for name, text, says in [
        ("list.json", "[]", "result files"),
        ("other.json", "{}", "neither 'videos' nor"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(DatasetError, match=says):
            detect_format(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="not recognised"):
        detect_format(tmp_path / "empty")
    with pytest.raises(DatasetError, match="nothing is there"):
        detect_format(tmp_path / "gone")


def test_davis_to_ytvis_and_back(tmp_path: Path) -> None:
    first, root = read_davis(davis_tree(tmp_path / "a"))
    done = convert_data(tmp_path / "a", tmp_path / "b.json")
    assert (done.target_format, done.videos, done.frames, done.objects) == ("ytvis", 2, 5, 3)
    assert done.frames_root == root
    assert comparable(read_ytvis(tmp_path / "b.json")) == comparable(first)
    convert_data(tmp_path / "b.json", tmp_path / "c", options=ConvertOptions(frames_root=root))
    second, _ = read_davis(tmp_path / "c")
    assert comparable(second) == comparable(first)
    assert second.info == first.info


def test_ytvis_to_coco_and_back(tmp_path: Path) -> None:
    source = ytvis_file(tmp_path)
    done = convert_data(source, tmp_path / "coco.json")
    assert done.notes == ("1 unannotated frames were left out: COCO would call them empty",)
    assert (done.videos, done.frames, done.objects) == (None, 4, 5)
    assert convert_data(tmp_path / "coco.json", tmp_path / "again.json").notes == ()
    assert comparable(read_ytvis(tmp_path / "again.json")) == comparable(read_ytvis(source))
    pictures = read_coco(tmp_path / "coco.json", done.frames_root)
    assert all(pictures.path_of(image).is_file() for image in pictures.images)


def test_labelme_to_coco_to_ytvis(tmp_path: Path) -> None:
    convert_data(labelme_folder(tmp_path / "a"), tmp_path / "coco.json")
    done = convert_data(tmp_path / "coco.json", tmp_path / "ytvis.json")
    assert (done.videos, done.frames, done.objects) == (1, 2, 2)
    convert_data(tmp_path / "a", tmp_path / "direct.json", target_format="ytvis")
    assert comparable(read_ytvis(tmp_path / "direct.json")) == comparable(read_ytvis(tmp_path / "ytvis.json"))


def test_mask_folders_to_ytvis_to_davis_to_folders(tmp_path: Path) -> None:
    convert_data(mask_folders(tmp_path / "a", videos=True), tmp_path / "b.json")
    options = ConvertOptions(frames_root=tmp_path / "a/images")
    convert_data(tmp_path / "b.json", tmp_path / "c", options=options)
    convert_data(tmp_path / "c", tmp_path / "d", target_format="folders")
    convert_data(tmp_path / "d", tmp_path / "e.json")
    assert comparable(read_ytvis(tmp_path / "e.json")) == comparable(read_ytvis(tmp_path / "b.json"))


def test_flat_mask_folder_to_coco_and_to_single_frames(tmp_path: Path) -> None:
    mask_folders(tmp_path / "a", videos=False)
    done = convert_data(tmp_path / "a", tmp_path / "coco.json", target_format="coco")
    assert (done.frames, done.objects) == (4, 6 - 1)
    done = convert_data(tmp_path / "a", tmp_path / "one.json", options=ConvertOptions(single_frames=True))
    assert (done.videos, done.frames) == (4, 4)
    done = convert_data(tmp_path / "a", tmp_path / "video.json")
    assert (done.videos, done.frames) == (1, 4)


def test_vspw_to_ytvis_and_back(tmp_path: Path) -> None:
    convert_data(vspw_tree(tmp_path / "a"), tmp_path / "b.json")
    options = ConvertOptions(frames_root=tmp_path / "a/data")
    convert_data(tmp_path / "b.json", tmp_path / "c", target_format="vspw", options=options)
    convert_data(tmp_path / "c", tmp_path / "d.json")
    assert comparable(read_ytvis(tmp_path / "d.json")) == comparable(read_ytvis(tmp_path / "b.json"))
    with pytest.raises(DatasetError, match=r"2 classes .* would be lost.* --drop-classes"):
        convert_data(tmp_path / "b.json", tmp_path / "e", target_format="davis", options=options)
    done = convert_data(
        tmp_path / "b.json", tmp_path / "e", target_format="davis", options=replace(options, drop_classes=True)
    )
    assert done.notes == ("the target has no classes: 2 class names were left out",)


@settings(max_examples=25)
@given(track_datasets(disjoint=True))
def test_tracks_through_label_maps_are_lossless(dataset: YtvisDataset) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ytvis(folder / "a.json", dataset)
        for video in dataset.videos:
            for frame in video.file_names:
                save_picture(folder / frame, height=video.height, width=video.width)
        convert_data(folder / "a.json", folder / "b", target_format="davis")
        read, _ = read_davis(folder / "b")
        assert by_name(read) == by_name(dataset)


def by_name(dataset: YtvisDataset) -> dict[str, object]:
    """Video name -> all there is to it; a tree knows no ids and lists its videos by name."""
    return {
        video.file_names[0].split("/")[0]: (
            video.file_names,
            video.annotated_frames,
            [track.segmentations for track in dataset.annotations if track.video_id == video.id],
        )
        for video in dataset.videos
    }


def test_a_video_of_crowds_only_is_refused_as_davis(tmp_path: Path) -> None:
    source = ytvis_file(tmp_path)
    document = json.loads(source.read_text())
    document["annotations"][0]["iscrowd"] = 1
    source.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="video 3: has crowds only"):
        convert_data(source, tmp_path / "out", options=ConvertOptions(drop_classes=True))


def test_smaller_mask_wins_where_it_is_asked_to(tmp_path: Path) -> None:
    source = ytvis_file(tmp_path)
    document = json.loads(source.read_text())
    everything = np.ones((12, 16), dtype=bool)
    document["annotations"][2]["segmentations"][0] = rle.encode(everything)
    small = document["annotations"][2] | {"id": 99, "category_id": 7}
    small["segmentations"] = [rle.encode(np.eye(12, 16)), None]
    document["annotations"].append(small)
    source.write_text(json.dumps(document))
    options = ConvertOptions(drop_classes=True)
    with pytest.raises(DatasetError, match=r"video w, frame 0: objects 1 and 2 overlap.* --overlap smaller"):
        convert_data(source, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()
    convert_data(source, tmp_path / "out", options=replace(options, overlap="smaller"))
    dataset, _ = read_davis(tmp_path / "out")
    of_w = [track for track in dataset.annotations if dataset.videos[track.video_id - 1].file_names[0][0] == "w"]
    assert [int(track.mask_areas[0]) for track in of_w] == [12 * 16 - 12, 12]


def test_refusals_write_nothing(tmp_path: Path) -> None:
    source = ytvis_file(tmp_path / "in")
    taken = tmp_path / "taken.json"
    taken.write_text("mine")
    convert_data(source, tmp_path / "coco.json")
    document = json.loads((tmp_path / "coco.json").read_text())
    for image in document["images"]:
        del image["video_id"]
    (tmp_path / "plain.json").write_text(json.dumps(document))
    for a, b, to, says in [
        (source, taken, None, "exists already"),
        (source, tmp_path / "out", "labelme", "labelme files are read, not written"),
        (tmp_path / "plain.json", tmp_path / "out.json", None, "plain.json: the pictures .* --single-frames"),
        (tmp_path / "coco.json", tmp_path / "out", None, "say with --to"),
    ]:
        with pytest.raises(DatasetError, match=says):
            convert_data(a, b, target_format=to)  # type: ignore[arg-type]
    assert taken.read_text() == "mine"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.json").exists()


def test_plain_coco_becomes_videos_of_one_frame(tmp_path: Path) -> None:
    source = ytvis_file(tmp_path)
    convert_data(source, tmp_path / "coco.json")
    document = json.loads((tmp_path / "coco.json").read_text())
    for image in document["images"]:
        image["all80"] = True
    (tmp_path / "coco.json").write_text(json.dumps(document))
    done = convert_data(tmp_path / "coco.json", tmp_path / "one.json", options=ConvertOptions(single_frames=True))
    assert (done.videos, done.frames, done.objects) == (4, 4, 5)
    assert done.notes == ("fields that YouTube-VIS files do not have were left out: all80",)


def test_not_a_number_is_refused_by_name(tmp_path: Path) -> None:
    source = ytvis_file(tmp_path)
    convert_data(source, tmp_path / "coco.json")
    for path, change in ((source, '{"year": NaN}'), (tmp_path / "coco.json", '{"year": 1e999}')):
        path.write_text(path.read_text().replace('{"year": 2026}', change))
        for target_format in ("ytvis", "coco"):
            with pytest.raises(DatasetError, match="NaN or infinity"):
                convert_data(path, tmp_path / "out.json", target_format=target_format)  # type: ignore[arg-type]
    assert not (tmp_path / "out.json").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_score_that_is_not_a_number_names_its_annotation(tmp_path: Path) -> None:
    dataset = read_coco(ytvis_coco(tmp_path))
    first = replace(dataset.annotations[0], extra={"score": float("nan")})
    with pytest.raises(DatasetError, match="annotation 1: holds NaN"):
        write_coco(replace(dataset, annotations=(first,)), tmp_path / "again.json")


def ytvis_coco(folder: Path) -> Path:
    convert_data(ytvis_file(folder), folder / "coco.json")
    return folder / "coco.json"
