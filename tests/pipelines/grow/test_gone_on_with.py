"""What a run that was killed and gone on with must not show: files of later stages, and less said than at first."""

import numpy as np
import pytest
from small_found import SIZE, found_video, judged, square, write_video

from fewmask.errors import VideoError
from fewmask.media import rle
from fewmask.pipelines.grow import search_stage
from fewmask.pipelines.grow.kept_dataset import PARTS, write_kept
from fewmask.pipelines.grow.kept_sheet import draw_kept
from fewmask.pipelines.grow.kinds import Kind, Kinds
from fewmask.pipelines.grow.linked_copy import linked_copy
from fewmask.pipelines.grow.search_stage import find_stage
from fewmask.pipelines.grow.support_pictures import Example


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_dataset_is_the_same_whatever_was_written_beside_it(tmp_path):
    kept = tmp_path / "kept"
    video = judged(found_video("walk", write_video(tmp_path / "video")), {1: (0, "kept"), 2: (0, "unsure")})
    write_kept(kept, [video], ("dog",), 2, held_out=frozenset())
    first = contents(linked_copy(kept, tmp_path / "dataset", PARTS))
    assert {name.split("/")[0] for name in first} == set(PARTS)
    (kept / "stage.json").write_text("{}")
    assert [path.name for path in draw_kept(kept)] == ["kept-01.jpg"]
    (tmp_path / "dataset" / "stray.txt").write_text("of before")
    (tmp_path / ".dataset.part").mkdir()  # a run was killed while it copied
    (tmp_path / ".dataset.part" / "half.json").write_text("{")
    assert contents(linked_copy(kept, tmp_path / "dataset", PARTS)) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "kept", "video"]


def test_a_folder_without_a_choice_of_parts_is_copied_whole(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name in ("one", "deep/two"):
        (tmp_path / "a" / name).write_text(name)
    assert contents(linked_copy(tmp_path / "a", tmp_path / "b")) == contents(tmp_path / "a")


def test_sheets_show_kinds_of_which_something_was_kept(tmp_path):
    found = found_video("walk", write_video(tmp_path / "video"), kinds=("dog", "cat"))
    write_kept(tmp_path / "kept", [judged(found, {2: (1, "kept"), 3: (0, "unsure")})], ("dog", "cat"), 1,
               held_out=frozenset())  # fmt: skip
    assert [path.name for path in draw_kept(tmp_path / "kept")] == ["kept-02.jpg"]


class Network:
    def fit(self, supports):
        return supports


@pytest.mark.parametrize("killed_after", range(4))
def test_problems_are_told_after_a_kill_too(tmp_path, monkeypatch, killed_after):
    """Videos that broke off, those that cannot be read, and sound ones, looked through by a run killed after some."""
    sources = {"torn": "torn.mp4", "gone": "gone.mp4", "sound": "sound.mp4"}
    looked = []

    def find(name, source, *_, **__):
        if len(looked) == killed_after and not again:
            raise KeyboardInterrupt
        looked.append(name)
        if name == "gone":
            raise VideoError("gone.mp4: cannot be read")
        found = found_video(name, source, frames=2)
        found.note = "torn.mp4: broke off" if name == "torn" else None
        return found

    monkeypatch.setattr(search_stage, "find_in_video", find)
    nothing = np.zeros((0, 3), np.float32)
    example = Example(np.zeros((*SIZE, 3), np.uint8), rle.encode(square(0, 0)), "shown")
    kinds = Kinds((Kind("dog", (example,), nothing),), (), nothing)
    arguments = (tmp_path, sources, kinds, Network(), None, None, 1)
    again = False
    if killed_after < len(sources):
        with pytest.raises(KeyboardInterrupt):
            find_stage(*arguments, lambda *_: None)
    again = True
    assert find_stage(*arguments, lambda *_: None) == {
        "videos": ["torn", "sound"],
        "problems": {"torn": "torn.mp4: broke off", "gone": "gone.mp4: cannot be read"},
    }
    assert looked.count("torn") == looked.count("sound") == 1
