import pytest

from fewmask.media.file_kinds import VIDEO_SUFFIXES, entries, files_below, files_in, folders_in, is_litter, natural_key
from fewmask.media.frames import open_frames

from .test_image_files import save_pictures

LITTER = [
    "._a.png", ".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "ehthumbs.db", "__MACOSX", "@eaDir", "Icon\r",
    "~$notes.docx", "a.png~", "$RECYCLE.BIN", "System Volume Information", ".Trash-1000", ".nfs0001", "lost+found",
    ".a.png.123.part", "#recycle", "a.png:Zone.Identifier",
]  # fmt: skip


@pytest.mark.parametrize("name", LITTER)
def test_litter_of_file_systems(name):
    assert is_litter(name)


@pytest.mark.parametrize("name", ["a.png", "icon", "thumbs", "desktop", "a~b.png", "frame#1.png", "recycled", "_a.png"])
def test_what_users_may_call_their_files(name):
    assert not is_litter(name)


def test_litter_is_passed_over_wherever_a_folder_is_read(tmp_path):
    folder = save_pictures(tmp_path / "x", ["f2.png", "f10.png"])
    for name in ("._f2.png", "Thumbs.db", "f2.png~"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    for name in ("__MACOSX", "@eaDir", "sub"):
        save_pictures(folder / name, ["f3.png"])
    assert [path.name for path in files_in(folder, {".png"})] == ["f2.png", "f10.png"]
    assert [path.name for path in files_below(folder, {".png"})] == ["f2.png", "f10.png", "f3.png"]
    assert [path.name for path in folders_in(folder)] == ["sub"]
    assert [path.name for path in entries(folder)] == ["f2.png", "f10.png", "sub"]
    assert open_frames(folder).length == 2
    assert open_frames(str(folder / "*.png")).file_names == ("f2.png", "f10.png")


CAMERAS = [".mts", ".m2ts", ".mxf", ".3gp", ".vob", ".mod", ".tod", ".dav", ".ts", ".wmv", ".asf", ".insv", ".lrv"]


@pytest.mark.parametrize("suffix", [*CAMERAS, ".mp4", ".mov", ".avi", ".mkv", ".gif"])
def test_files_of_cameras_are_videos(suffix):
    assert suffix in VIDEO_SUFFIXES


def test_frame_2_comes_before_frame_10() -> None:
    names = ["f10.png", "f2.png", "f1.png", "a.png", "f02.png", "²x", "10", "9"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("f2.png") < ordered.index("f10.png")
    assert ordered.index("9") < ordered.index("10")
