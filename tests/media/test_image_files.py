from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewmask.errors import VideoError
from fewmask.media.frames import open_frames

from .conftest import picture


def save_pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(picture(index)).save(folder / name)
    return folder


def test_folder_in_natural_order(tmp_path):
    folder = save_pictures(tmp_path / "lab", ["frame2.png", "frame10.png", "frame1.png", "Frame3.PNG"])
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"broken")
    with open_frames(folder) as source:
        assert (source.name, source.size, source.length, source.fps) == ("lab", (48, 64), 4, None)
        assert source.file_names == ("frame1.png", "frame2.png", "Frame3.PNG", "frame10.png")
        frames = list(source)
    for frame, written_as in zip(frames, [2, 0, 3, 1], strict=True):
        assert np.array_equal(frame.rgb, picture(written_as))
    assert [frame.index for frame in open_frames(folder, start=2)] == [2, 3]


def test_glob_and_list(tmp_path):
    folder = save_pictures(tmp_path / "shots", ["a1.png", "a2.png", "b1.png"])
    assert open_frames(str(folder / "a*.png")).file_names == ("a1.png", "a2.png")
    assert open_frames(folder / "*1.png").file_names == ("a1.png", "b1.png")
    listed = open_frames([folder / "b1.png", str(folder / "a1.png")])
    assert [frame.rgb[0, 0, 2] for frame in listed] == [picture(2)[0, 0, 2], picture(0)[0, 0, 2]]
    single = open_frames(folder / "a1.png")
    assert (single.name, single.length) == ("a1", 1)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, -1), (3, 2), (8, 1)])
def test_exif_orientation(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(0)).save(tmp_path / "photo.png", exif=exif)
    frame = next(iter(open_frames(tmp_path)))
    assert np.array_equal(frame.rgb, np.rot90(picture(0), turns))
    assert frame.rgb.flags.c_contiguous


def test_kinds_of_pixels(tmp_path):
    grey = picture(0)[:, :, 0]
    colour = picture(0)
    wide = np.linspace(0, 65535, grey.size).astype(np.uint16).reshape(grey.shape)
    Image.fromarray(grey).save(tmp_path / "1_grey.png")
    Image.fromarray(wide).save(tmp_path / "2_wide.png")
    Image.fromarray(colour).quantize(256).save(tmp_path / "3_palette.png")
    Image.fromarray(np.dstack([colour, grey])).save(tmp_path / "4_alpha.png")
    Image.fromarray(grey > 60).save(tmp_path / "5_bits.png")
    quantized = Image.fromarray(colour).quantize(16)
    quantized.save(tmp_path / "6_clear.png", transparency=3)
    frames = [frame.rgb for frame in open_frames(tmp_path)]
    assert all(rgb.dtype == np.uint8 and rgb.shape == (48, 64, 3) for rgb in frames)
    assert np.array_equal(frames[0], np.dstack([grey] * 3))
    assert np.abs(frames[1][:, :, 0] - wide / 65535 * 255).max() <= 0.5
    assert np.abs(frames[2].astype(int) - colour).mean() < 10
    assert np.array_equal(frames[3], colour)
    assert np.array_equal(frames[4], np.dstack([(grey > 60) * np.uint8(255)] * 3))
    assert np.array_equal(frames[5], np.array(quantized.convert("RGB")))


def test_unreadable_image(tmp_path):
    folder = save_pictures(tmp_path / "x", [f"{index}.png" for index in range(4)])
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:100])
    seen = []
    with pytest.raises(VideoError, match=r"^frame 2: .*2\.png: cannot be read as an image"):  # noqa: PT012
        for frame in open_frames(folder):
            seen.append(frame.index)  # noqa: PERF401
    assert seen == [0, 1]
    source = open_frames(folder, skip_broken=True)
    assert [frame.index for frame in source] == [0, 1, 3]
    assert source.broken == [2]


def test_images_of_two_sizes(tmp_path):
    folder = save_pictures(tmp_path / "x", ["0.png", "1.png"])
    Image.fromarray(picture(0, 30, 40)).save(folder / "2.png")
    seen = []
    with pytest.raises(VideoError, match=r"2\.png is 40x30, but .*0\.png is 64x48"):  # noqa: PT012
        for frame in open_frames(folder):
            seen.append(frame.index)  # noqa: PERF401
    assert seen == [0, 1]


def test_nothing_to_read(tmp_path):
    with pytest.raises(VideoError, match="no images in this folder"):
        open_frames(tmp_path)
    with pytest.raises(VideoError, match="matches 0 files and no image"):
        open_frames(tmp_path / "*.png")
    with pytest.raises(VideoError, match="empty"):
        open_frames([])
    with pytest.raises(VideoError, match=r"gone\.png: no such file"):
        open_frames([tmp_path / "gone.png"])
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(VideoError, match=r"bad\.png: cannot be read"):
        open_frames(tmp_path)
    with pytest.raises(VideoError, match="none of the 1 images"):
        open_frames(tmp_path, skip_broken=True)
