"""Names that are no UTF-8, from the disk through every reader and writer."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewmask.cli import main as command
from fewmask.datasets.convert import convert_data
from fewmask.datasets.mask_folders import read_mask_folders
from fewmask.media.atomic import write_json, write_text
from fewmask.media.frames import open_frames
from fewmask.media.run_directory import RunDirectory
from fewmask.media.writer import VideoWriter

from .conftest import picture, write_video

ODD = [b"caf\xe9", b"\xff\xfe", b"\x83t\x83@", b"na\xefve \xe9t\xe9"]  # Latin-1, nothing, Shift-JIS, two at once


@pytest.fixture(params=ODD, ids=ascii)
def name(request):
    return os.fsdecode(request.param)


def test_videos_and_pictures(tmp_path, name):
    write_video(tmp_path / f"{name}.mp4", count=3)
    folder = tmp_path / name
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / f"{name}.png")
    for source in (tmp_path / f"{name}.mp4", folder, str(folder / "*.png")):
        with open_frames(source) as frames:
            assert len(list(frames)) == frames.length
    assert open_frames(folder).file_names == (f"{name}.png",)
    with VideoWriter(folder / f"{name}_2.mp4", (48, 64), 10.0) as writer:
        writer.write(picture(0))
    assert open_frames(folder / f"{name}_2.mp4").length == 1


def test_files_and_terminal(tmp_path, name, monkeypatch):
    write_json(tmp_path / "a.json", {"name": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": name}
    write_text(tmp_path / "a.xml", name)
    (tmp_path / "a.xml").read_text(encoding="utf-8")
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(buffer, encoding="utf-8", write_through=True))
    monkeypatch.setattr(sys, "argv", ["fewmask", "convert-data", str(tmp_path / name), str(tmp_path / "out.json")])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert os.fsencode(name) in buffer.getvalue()


def test_a_run_and_a_dataset(tmp_path, name):
    run = RunDirectory.create(
        tmp_path / name, command=["segment", name], inputs={"source": name}, settings={"name": name}, resume=False
    )
    with run:
        run.finish()
    for folder in ("images", "masks"):
        (tmp_path / "x" / folder).mkdir(parents=True)
    Image.fromarray(picture(0)).save(tmp_path / "x/images" / f"{name}.png")
    Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(tmp_path / "x/masks" / f"{name}.png")
    dataset, _ = read_mask_folders(tmp_path / "x")
    assert dataset.videos[0].file_names == (f"{name}.png",)
    convert_data(tmp_path / "x", tmp_path / "tracks.json", target_format="ytvis")
    done = convert_data(tmp_path / "tracks.json", tmp_path / "again.json", target_format="coco")
    assert done.frames == 1
    document = json.loads(Path(tmp_path / "again.json").read_text(encoding="utf-8"))
    assert document["images"][0]["file_name"] == f"{name}.png"
