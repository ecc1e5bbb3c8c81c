import os
import shutil
from pathlib import Path

import pytest

from fewmask.errors import ConfigError
from fewmask.media import identity as identities
from fewmask.media.identity import Noted, identity, same_input


def same(one, other):
    return same_input(identity(one), identity(other))


def flipped(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "frames"
    (folder / "more").mkdir(parents=True)
    for name in ("1.png", "2.png", "10.png", "more/3.png"):
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def test_a_touched_or_copied_input_is_the_same(tmp_path, pictures):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"12345")
    before = identity({"source": video, "support": [pictures], "glob": f"{pictures}/*.png"})
    os.utime(video, ns=(1, 1))
    os.utime(pictures / "1.png", ns=(1, 1))
    (pictures / ".DS_Store").write_text("x")
    assert same_input(before, identity({"source": video, "support": [pictures], "glob": f"{pictures}/*.png"}))
    shutil.copytree(pictures, tmp_path / "copy")
    shutil.copy(video, tmp_path / "b.mp4")
    copied = {"source": tmp_path / "b.mp4", "support": [tmp_path / "copy"], "glob": f"{tmp_path}/copy/*.png"}
    assert same_input(before, identity(copied))


def inputs(video, folder):
    return {
        "file": video,
        "text": str(video),
        "folder": folder,
        "glob": f"{folder}/**/*.png",
        "list": [folder / "1.png", folder / "2.png"],
        "mixed": [folder, "http://h/v"],
        "deep": {"a": {"b": folder / "more" / "3.png"}},
    }


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda video, folder: flipped(video, 2), {"file", "text"}),
        (lambda video, folder: flipped(folder / "1.png", 77), {"folder", "glob", "list", "mixed"}),
        (lambda video, folder: flipped(folder / "more" / "3.png", 0), {"folder", "glob", "mixed", "deep"}),
        (lambda video, folder: (folder / "4.png").write_bytes(b"new"), {"folder", "glob", "mixed"}),
        (lambda video, folder: (folder / "10.png").unlink(), {"folder", "glob", "mixed"}),
        (lambda video, folder: (folder / "10.png").rename(folder / "11.png"), {"folder", "glob", "mixed"}),
        (lambda video, folder: video.write_bytes(b"1234"), {"file", "text"}),
    ],
)
def test_changes_are_seen(tmp_path, pictures, change, seen):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"12345")
    before = identity(inputs(video, pictures))
    change(video, pictures)
    now = identity(inputs(video, pictures))
    assert {name for name in before if not same_input(before[name], now[name])} == seen


def test_the_order_of_a_list_counts(pictures):
    files = [pictures / "1.png", pictures / "2.png"]
    assert not same(files, files[::-1])


@pytest.mark.parametrize("size", [(1 << 20) + 1, 9_000_001])
def test_large_files_by_blocks(tmp_path, size, monkeypatch):
    monkeypatch.setattr(identities, "_WHOLE_BYTES", 65 * 8192)
    monkeypatch.setattr(identities, "_BLOCK_BYTES", 8192)
    path = tmp_path / "large"
    path.write_bytes(b"x" * size)
    before = identity(path)
    for position in (0, 8_191, size // 2, size - 1):
        flipped(path, position)
        assert not same_input(before, identity(path)), position
        flipped(path, position)
    assert same_input(before, identity(path))
    path.write_bytes(b"x" * (size - 1))
    assert not same_input(before, identity(path))


def test_every_stretch_of_a_large_file_has_a_block(tmp_path, monkeypatch):
    """What is rewritten over a thirtieth of the file or more is always seen."""
    monkeypatch.setattr(identities, "_WHOLE_BYTES", 65 * 4096)
    monkeypatch.setattr(identities, "_BLOCK_BYTES", 4096)
    path = tmp_path / "large"
    size = 2 << 20
    data = b"x" * size
    path.write_bytes(data)
    before = identity(path)
    for start in range(0, size, size // 30):
        path.write_bytes(data[:start] + b"y" * (size // 30) + data[start + size // 30 :])
        assert not same_input(before, identity(path)), start


def test_many_files_share_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(identities, "_MOST_READ", 50)
    monkeypatch.setattr(identities, "_ALL_BYTES", 200 * 20_000)
    for i in range(200):
        (tmp_path / f"{i:03}.bin").write_bytes(b"z" * 30_000)
    before = identity(tmp_path)
    flipped(tmp_path / "000.bin", 0)
    assert not same_input(before, identity(tmp_path))
    flipped(tmp_path / "000.bin", 0)
    for i in range(200):
        flipped(tmp_path / f"{i:03}.bin", 15_000)
    assert not same_input(before, identity(tmp_path))


def test_addresses_numbers_and_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert same("rtsp://u:one@cam/1", "rtsp://u:two@cam/1")
    assert not same("http://h/v?a=1", "http://h/v?a=2")
    assert not same("http://h/v?a=1", "http://h/w?a=1")
    assert "secret" not in str(identity({"a": "rtsp://u:secret@cam/1?t=secret", "b": [Noted("http://u:secret@h/")]}))
    assert (identity(3), identity(None), identity("small"), identity(True)) == (3, None, "small", True)
    assert same(Noted("a"), Noted("b"))
    assert identity("http:/u:secret@host/v?t=secret") == "http:/host/v?t=***"
    assert not same(tmp_path, str(tmp_path) + "nowhere")


def test_a_run_inside_the_input_is_no_part_of_it(pictures):
    before = identity(pictures)
    (pictures / "out").mkdir()
    (pictures / "out" / "manifest.json").write_text("{}")
    (pictures / "out" / "overlay.mp4").write_text("x")
    assert same_input(before, identity(pictures))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    path.chmod(0)
    with pytest.raises(ConfigError, match=r"a\.mp4: cannot be read"):
        identity(path)


def test_relative_paths_are_found(pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    assert same("1.png", pictures / "1.png")
    assert Path(identity("1.png")["path"]).is_absolute()
