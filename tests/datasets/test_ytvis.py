"""YouTube-VIS and OVIS files: what is read, what is written, what is refused and in which words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.datasets.run_lengths import measure_runs
from fewmask.datasets.ytvis import annotation_from_masks, read_ytvis, read_ytvis_results, result_from_masks
from fewmask.datasets.ytvis_write import write_ytvis, write_ytvis_results
from fewmask.errors import DatasetError
from fewmask.media import rle

FIXTURES = Path(__file__).parent.parent / "metrics" / "fixtures" / "ytvis_eval"


def ground_truth() -> dict[str, Any]:
    """One video of 3 frames of 4x5, one object that is absent in the last frame."""
    mask = np.zeros((4, 5), dtype=bool)
    mask[1:3, 2:4] = True
    return {
        "videos": [{"id": 7, "width": 5, "height": 4, "length": 3, "file_names": ["a/0.jpg", "a/1.jpg", "a/2.jpg"]}],
        "categories": [{"id": 3, "name": "fish"}],
        "annotations": [
            {
                "id": 1,
                "video_id": 7,
                "category_id": 3,
                "iscrowd": 0,
                "segmentations": [rle.encode(mask), rle.encode(~mask), None],
                "areas": [4, 16, None],
                "bboxes": [[2, 1, 2, 2], [0, 0, 5, 4], None],
            }
        ],
    }


def results() -> list[dict[str, Any]]:
    masks = ground_truth()["annotations"][0]["segmentations"]
    return [{"video_id": 7, "category_id": 3, "score": 0.5, "segmentations": masks}]


def saved(folder: Path, value: Any, name: str = "file.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(value))
    return path


def test_fields(tmp_path: Path) -> None:
    dataset = read_ytvis(saved(tmp_path, ground_truth()))
    (video,), (category,), (annotation,) = dataset.videos, dataset.categories, dataset.annotations
    assert (video.id, video.width, video.height, video.length, video.file_names[1]) == (7, 5, 4, 3, "a/1.jpg")
    assert (category.id, category.name) == (3, "fish")
    assert annotation.mask_areas.tolist() == [4, 16, 0]
    assert annotation.areas == [4, 16, None]
    assert annotation.bboxes == [(2, 1, 2, 2), (0, 0, 5, 4), None]
    assert annotation.segmentations[2] is None
    assert not annotation.iscrowd
    assert annotation.annotated_frames is None


def test_mask_forms_agree(tmp_path: Path) -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:20, 5:25] = True
    columns = mask.T.ravel()
    changes = np.flatnonzero(np.diff(columns)) + 1
    runs = np.diff([0, *changes, columns.size]).tolist()
    value = ground_truth()
    value["videos"][0] |= {"width": 50, "height": 40}
    polygon = [[5, 10, 25, 10, 25, 20, 5, 20]]
    value["annotations"][0] |= {
        "segmentations": [rle.encode(mask), {"size": [40, 50], "counts": runs}, polygon],
        "areas": None,
        "bboxes": None,
    }
    annotation = read_ytvis(saved(tmp_path, value)).annotations[0]
    assert annotation.segmentations == [rle.encode(mask)] * 3
    assert annotation.mask_areas.tolist() == [200] * 3


def test_optional_keys(tmp_path: Path) -> None:
    value = ground_truth()
    del value["videos"][0]["length"]
    for key in ("iscrowd", "areas", "bboxes"):
        del value["annotations"][0][key]
    value["videos"][0]["annotated_frames"] = [2, 0]
    value["annotations"][0]["annotated_frames"] = [0]
    value["annotations"][0]["segmentations"][2] = []
    value["annotations"][0]["occlusion"] = ["no_occlusion", "severe_occlusion", None]
    dataset = read_ytvis(saved(tmp_path, value))
    assert dataset.videos[0].length == 3
    assert dataset.videos[0].annotated_frames == (0, 2)
    annotation = dataset.annotations[0]
    assert annotation.annotated_frames == (0,)
    assert annotation.segmentations[2] is None
    assert annotation.occlusion == ["no_occlusion", "severe_occlusion", None]
    assert annotation.areas is None


def test_round_trip(tmp_path: Path) -> None:
    value = ground_truth()
    value["info"] = {"year": 2021}
    value["videos"][0]["annotated_frames"] = [0, 2]
    value["annotations"][0]["occlusion"] = ["no_occlusion", "severe_occlusion", None]
    first = read_ytvis(saved(tmp_path, value))
    write_ytvis(tmp_path / "copy.json", first)
    second = read_ytvis(tmp_path / "copy.json")
    assert second.videos == first.videos
    assert second.categories == first.categories
    assert second.info == {"year": 2021}
    for a, b in zip(first.annotations, second.annotations, strict=True):
        for key in ("id", "video_id", "category_id", "iscrowd", "segmentations", "areas", "bboxes", "occlusion"):
            assert getattr(a, key) == getattr(b, key)
        assert (a.mask_areas == b.mask_areas).all()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_round_trip_of_any_masks(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    height, width, length = (data.draw(st.integers(1, 9)) for _ in range(3))
    bits = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    frames = data.draw(st.lists(st.none() | bits, min_size=length, max_size=length))
    masks = [None if frame is None else rle.encode(np.array(frame).reshape(height, width)) for frame in frames]
    folder = tmp_path_factory.mktemp("any")
    value = ground_truth()
    value["videos"] = [{"id": 7, "width": width, "height": height, "length": length}]
    value["annotations"] = []
    dataset = read_ytvis(saved(folder, value))
    annotation = annotation_from_masks(id=0, video_id=7, category_id=3, segmentations=masks)
    write_ytvis(folder / "gt.json", type(dataset)(dataset.videos, dataset.categories, (annotation,)))
    again = read_ytvis(folder / "gt.json").annotations[0]
    assert again.segmentations == masks
    assert again.mask_areas.tolist() == [0 if frame is None else sum(frame) for frame in frames]
    write_ytvis_results(
        folder / "r.json", (result_from_masks(video_id=7, category_id=3, score=0.25, segmentations=masks),)
    )
    (result,) = read_ytvis_results(folder / "r.json", dataset)
    assert (result.video_id, result.category_id, result.score) == (7, 3, 0.25)
    assert result.segmentations == masks


Change = Callable[[dict[str, Any]], None]


def _set(*path: Any) -> Change:
    """A change of the ground truth: keys down to the place, then the value."""
    *keys, last, new = path

    def change(value: Any) -> None:
        for key in keys:
            value = value[key]
        value[last] = new

    return change


def _drop(*path: Any) -> Change:
    *keys, last = path

    def change(value: Any) -> None:
        for key in keys:
            value = value[key]
        del value[last]

    return change


A = ("annotations", 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop("videos"), ["'videos'"]),
        (_set("videos", [3]), ["videos[0]"]),
        (_drop("videos", 0, "width"), ["videos[0] (id 7)", "'width'"]),
        (_set("videos", 0, "width", 0), ["'width'"]),
        (_set("videos", 0, "height", True), ["'height'"]),
        (_set("videos", 0, "length", 4), ["videos[0] (id 7)", "'length' is 4", "3"]),
        (_set("videos", 0, "file_names", ["a", "../b", "c"]), ["file_names[1]", "../b"]),
        (_set("videos", 0, "file_names", ["a", "/etc/passwd", "c"]), ["file_names[1]"]),
        (_set("videos", 0, "file_names", ["a", "C:\\x", "c"]), ["file_names[1]"]),
        (_set("videos", 0, "annotated_frames", [3]), ["annotated_frames"]),
        (_set("categories", [{"id": 3, "name": "a"}] * 2), ["categories[1]", "id 3"]),
        (_drop("categories", 0, "name"), ["categories[0]", "'name'"]),
        (_drop(*A, "id"), ["annotations[0]", "'id'"]),
        (_set(*A, "id", -1), ["annotations[0]", "'id'"]),
        (_set(*A, "video_id", 8), ["annotations[0] (id 1)", "'video_id' 8"]),
        (_set(*A, "category_id", 9), ["annotations[0] (id 1)", "'category_id' 9"]),
        (_set(*A, "iscrowd", 2), ["'iscrowd'"]),
        (_drop(*A, "segmentations"), ["'segmentations'"]),
        (_set(*A, "segmentations", [None]), ["'segmentations'", "1 entries", "3 frames"]),
        (_set(*A, "segmentations", 1, "size", [5, 4]), ["segmentations[1]", "5x4", "4x5"]),
        (_drop(*A, "segmentations", 1, "counts"), ["segmentations[1]", "'counts'"]),
        (_set(*A, "segmentations", 1, "counts", "0"), ["segmentations[1]", "cover"]),
        (_set(*A, "segmentations", 1, "counts", "\n\n"), ["segmentations[1]", "bad RLE"]),
        (_set(*A, "segmentations", 1, "counts", ""), ["segmentations[1]", "bad RLE"]),
        (_set(*A, "segmentations", 1, "counts", [1, 2]), ["segmentations[1]", "bad RLE"]),
        (_set(*A, "segmentations", 1, "counts", [-1, 21]), ["segmentations[1]", "bad RLE"]),
        (_set(*A, "segmentations", 1, "mask"), ["segmentations[1]"]),
        (_set(*A, "segmentations", 1, [[1, 2, 3, 4]]), ["segmentations[1]", "polygon 0"]),
        (_set(*A, "segmentations", 1, [[1, 2, 3, 1e30, 0, 0]]), ["segmentations[1]", "polygon 0"]),
        (_set(*A, "areas", [1, 2]), ["'areas'", "2 entries"]),
        (_set(*A, "areas", [1, -2, None]), ["'areas'"]),
        (_set(*A, "bboxes", [[1], None, None]), ["bboxes[0]"]),
        (_set(*A, "occlusion", ["much", None, None]), ["'occlusion'"]),
    ],
)
def test_malformed_ground_truth(tmp_path: Path, change: Change, words: list[str]) -> None:
    value = ground_truth()
    change(value)
    _refused(lambda: read_ytvis(saved(tmp_path, value)), ["file.json", *words])


def test_duplicate_annotation_id(tmp_path: Path) -> None:
    value = ground_truth()
    value["annotations"] *= 2
    _refused(lambda: read_ytvis(saved(tmp_path, value)), ["annotations[1]", "id", "annotations[0]"])


R = (0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop(*R, "score"), ["[0]", "'score'"]),
        (_set(*R, "score", float("nan")), ["[0]", "'score'"]),
        (_set(*R, "score", "0.5"), ["[0]", "'score'"]),
        (_set(*R, "score", 10**400), ["[0]", "'score'"]),
        (_set(*R, "video_id", 8), ["[0]", "'video_id' 8"]),
        (_set(*R, "category_id", 9), ["[0]", "'category_id' 9"]),
        (_set(*R, "segmentations", [None, None]), ["[0]", "2 entries", "3 frames"]),
        (_set(*R, "segmentations", [None] * 4), ["[0]", "4 entries", "3 frames"]),
        (_set(*R, "segmentations", 0, "size", [4, 6]), ["[0]: segmentations[0]", "4x6"]),
        (_set(0, 5), ["[0]"]),
    ],
)
def test_malformed_results(tmp_path: Path, change: Change, words: list[str]) -> None:
    dataset = read_ytvis(saved(tmp_path, ground_truth()))
    value: Any = results()
    change(value)
    _refused(lambda: read_ytvis_results(saved(tmp_path, value, "r.json"), dataset), ["r.json", *words])


def test_bad_mask_is_found_in_a_large_batch(tmp_path: Path) -> None:
    dataset = read_ytvis(saved(tmp_path, ground_truth()))
    many = [json.loads(json.dumps(results()[0])) for _ in range(2000)]
    many[1234]["segmentations"][1]["counts"] = "5"
    _refused(lambda: read_ytvis_results(saved(tmp_path, many, "r.json"), dataset), ["[1234]: segmentations[1]", "5"])


def test_lenient_results(tmp_path: Path) -> None:
    dataset = read_ytvis(saved(tmp_path, ground_truth()))
    value = results()
    value[0]["segmentations"] = [{"size": [2, 2], "counts": [1, 3]}]
    value[0]["category_id"] = 99
    (result,) = read_ytvis_results(saved(tmp_path, value, "r.json"), dataset, lenient=True)
    assert [mask and mask["size"] for mask in result.segmentations] == [[2, 2]]
    assert result.mask_areas.tolist() == [3]


def test_results_without_a_dataset(tmp_path: Path) -> None:
    value = results() * 2
    value[1] = {**value[1], "segmentations": [None]}
    _refused(lambda: read_ytvis_results(saved(tmp_path, value)), ["[1]", "1 entries", "3 frames"])
    assert len(read_ytvis_results(saved(tmp_path, results()))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "nonsense",
        "{",
        "[",
        "[{",
        '[{"a": 1}',
        '[{"a": 1},',
        '[{"a": 1}] 3',
        "[1]",
        "[[[[",
        "[" * 100_000,
        '{"videos": ' + "[" * 100_000,
        '{"videos": 1',
        '{"videos": [], "categories": []',
        "\x00\x01",
    ],
)
def test_not_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(text)
    _refused(lambda: read_ytvis(path), ["f.json"])
    _refused(lambda: read_ytvis_results(path), ["f.json"])


def test_not_utf8_and_missing(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    for start in (b"[", b"{"):
        path.write_bytes(start + b'{"a": "\xff\xfe"}')
        _refused(lambda: read_ytvis(path), ["f.json"])
        _refused(lambda: read_ytvis_results(path), ["f.json"])
    _refused(lambda: read_ytvis(tmp_path / "none.json"), ["none.json"])
    _refused(lambda: read_ytvis_results(tmp_path), [tmp_path.name])


def test_large_nonsense_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    with path.open("wb") as handle:
        handle.write(b"[1,")
        handle.truncate(500_000_000)  # a sparse file: half a gigabyte of zero bytes
    _refused(lambda: read_ytvis(path), ["f.json"])
    _refused(lambda: read_ytvis_results(path), ["f.json"])


def test_empty_result_list(tmp_path: Path) -> None:
    assert read_ytvis_results(saved(tmp_path, [])) == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**36 - 1)), max_size=12))
def test_run_lengths_agree_with_bitmaps(shapes: list[tuple[int, int, int]]) -> None:
    masks = [np.array([bits >> i & 1 for i in range(h * w)], bool).reshape(h, w) for h, w, bits in shapes]
    covered, inside = measure_runs([rle.encode(mask)["counts"] for mask in masks])
    assert covered.tolist() == [mask.size for mask in masks]
    assert inside.tolist() == [mask.sum() for mask in masks]


def test_long_runs_agree_with_bitmaps() -> None:
    generator = np.random.default_rng(0)
    masks = [np.repeat(np.repeat(generator.random((9, 11)) < 0.4, 70, 0), 90, 1) for _ in range(20)]
    covered, inside = measure_runs([rle.encode(mask)["counts"] for mask in masks])
    assert covered.tolist() == [mask.size for mask in masks]
    assert inside.tolist() == [mask.sum() for mask in masks]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet=[chr(c) for c in range(40, 120)], max_size=12), min_size=1, max_size=6))
def test_one_malformed_string_spoils_no_other(texts: list[str]) -> None:
    covered, inside = measure_runs(texts)
    for index, text in enumerate(texts):
        alone, alone_inside = measure_runs([text])
        assert covered[index] == alone[0]
        assert inside[index] == alone_inside[0]
        assert _covered_slowly(text) == covered[index]


def _covered_slowly(text: str) -> int:
    """The run-length code by its definition, number by number; -1 if malformed."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 25:
            return -1
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value, shift = 0, 0
    return sum(runs) if runs and not shift and min(runs) >= 0 and max(runs) <= 2**28 else -1


def _refused(call: Callable[[], object], words: list[str]) -> None:
    with pytest.raises(DatasetError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
