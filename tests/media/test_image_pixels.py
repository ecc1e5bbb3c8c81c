"""Pictures as cameras write them: EXIF turns in every format, 10 to 16 bits, and files of several pictures."""

import logging
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from fewmask.errors import VideoError
from fewmask.media.frames import open_frames
from fewmask.media.image_pixels import opened_image, read_rgb, significant_bits, tell_scale, turned, upright_size

PIXELS = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3)
UPRIGHT = {  # by the EXIF standard: where row 0 and column 0 of the stored picture are
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.flipud(a)),
    8: lambda a: np.rot90(a, 1),
}


def deep_tiff(path: Path, rgb: np.ndarray, orientation: int = 1) -> Path:
    """A TIFF of 16-bit colours, which Pillow does not write."""
    height, width = rgb.shape[:2]
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
        (274, 3, 1, orientation), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, rgb.size * 2), (284, 3, 1, 1),
    ]  # fmt: skip
    directory = 14 + rgb.size * 2
    data = struct.pack("<2sHI3H", b"II", 42, directory, 16, 16, 16) + rgb.astype("<u2").tobytes()
    data += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_in_every_format(tmp_path, orientation):
    rgb = (PIXELS % 251).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = UPRIGHT[orientation](rgb)
    for name, options in (("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})):
        Image.fromarray(rgb).save(tmp_path / name, exif=exif, **options)
        np.testing.assert_array_equal(read_rgb(tmp_path / name), expected)
        Image.fromarray(rgb[..., 0]).save(tmp_path / f"grey_{name}", exif=exif, **options)
        np.testing.assert_array_equal(read_rgb(tmp_path / f"grey_{name}"), np.repeat(expected[..., :1], 3, axis=2))
        with opened_image(tmp_path / name) as image:
            assert upright_size(image) == expected.shape[:2]
    Image.fromarray(rgb).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    assert read_rgb(tmp_path / "a.jpg").shape == expected.shape
    np.testing.assert_array_equal(turned(rgb, orientation), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colours_of_16_bits_are_turned_too(tmp_path, orientation):
    deep = (PIXELS * 2).astype(np.uint16)  # up to 3,598: twelve bits
    found = read_rgb(deep_tiff(tmp_path / "a.tif", deep, orientation))
    expected = np.rint(UPRIGHT[orientation](deep) / 4095 * 255)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def test_a_picture_marked_as_it_is_stored_is_not_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = (PIXELS % 251).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png", size=(20, 30)), rgb)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png", size=(30, 20)), np.rot90(rgb, -1))


@pytest.mark.parametrize(("brightest", "bits"), [(0, 10), (1023, 10), (1024, 12), (4095, 12), (16383, 14), (16384, 16)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("colour", [False, True])
def test_fewer_than_16_bits(tmp_path, caplog, brightest, bits, suffix, colour):
    tell_scale.cache_clear()
    assert significant_bits(brightest) == bits
    deep = np.linspace(0, brightest, 20 * 30 * (3 if colour else 1)).astype(np.uint16).reshape((20, 30, -1))
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), deep[:, :, ::-1])
    with caplog.at_level(logging.WARNING, "fewmask"):
        found = read_rgb(path)
    assert np.abs(found - deep / (2**bits - 1) * 255).max() <= 0.51
    assert (f"of which {bits} are used" in caplog.text) == (bits < 16)


def test_one_scale_for_a_whole_folder(tmp_path):
    for index, brightest in enumerate((900, 3000, 2000)):
        Image.fromarray(np.full((20, 30), brightest, np.uint16)).save(tmp_path / f"{index}.png")
    levels = [int(frame.rgb.max()) for frame in open_frames(tmp_path)]
    assert levels == [round(value / 4095 * 255) for value in (900, 3000, 2000)]
    assert [int(frame.rgb.max()) for frame in open_frames(tmp_path, start=1)] == levels[1:]


def test_pixels_without_a_range_are_refused(tmp_path):
    for name, pixels in (("f.tif", np.zeros((4, 4), np.float32)), ("i.tif", np.full((4, 4), 70000, np.int32))):
        Image.fromarray(pixels).save(tmp_path / name)
        with pytest.raises(VideoError, match="no fixed range"):
            read_rgb(tmp_path / name)


def stack(path: Path, count: int = 6, **options: object) -> Path:
    pictures = [Image.new("RGB", (40, 30), (40 * i, 50, 50)) for i in range(count)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    return path


@pytest.mark.parametrize(
    ("name", "options", "fps"),
    [
        ("a.tif", {}, None),
        ("a.TIFF", {"compression": "tiff_lzw"}, None),
        ("a.png", {"duration": 40}, 25.0),
        ("a.apng", {"duration": 100, "format": "PNG"}, 10.0),
        ("a.webp", {"lossless": True, "duration": 40}, 25.0),
        ("a.gif", {"duration": 40}, 25.0),
    ],
)
def test_stacks_of_pictures_are_videos(tmp_path, name, options, fps):
    path = stack(tmp_path / name, **options)
    with open_frames(path) as source:
        assert source.fps == fps
        assert source.length in (6, None)
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(6))
    assert [int(frame.rgb[0, 0, 0]) // 40 for frame in frames] == list(range(6))
    assert [round(frame.time_s, 3) for frame in frames] == [round(i / (fps or 1), 3) for i in range(6)]
    later = list(open_frames(path, start=4))
    assert [(frame.index, frame.time_s) for frame in later] == [(f.index, f.time_s) for f in frames[4:]]
    assert list(open_frames(path, start=9)) == []


def test_a_folder_with_one_stack_is_that_stack_and_more_are_refused(tmp_path):
    stack(tmp_path / "a.tif")
    assert len(list(open_frames(tmp_path))) == 6
    assert len(list(open_frames([tmp_path / "a.tif"]))) == 6
    stack(tmp_path / "b.tif")
    with pytest.raises(VideoError, match=r"frame 0: .*a\.tif: holds 6 pictures; give it alone"):
        open_frames(tmp_path)


def test_what_only_looks_like_a_stack(tmp_path):
    """A photograph with a preview (MPO), a TIFF with a smaller copy of its page, an animation of one frame."""
    big, small = Image.new("RGB", (40, 30), (9, 9, 9)), Image.new("RGB", (20, 15), (9, 9, 9))
    big.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[small])
    with TiffImagePlugin.AppendingTiffWriter(tmp_path / "b.tif", new=True) as pages:
        big.save(pages, format="TIFF")
        pages.newFrame()
        small.save(pages, format="TIFF", tiffinfo={254: 1})
    stack(tmp_path / "c.webp", 1, lossless=True)
    for name in ("a.jpg", "b.tif", "c.webp"):
        assert [frame.rgb.shape for frame in open_frames(tmp_path / name)] == [(30, 40, 3)]


def test_a_stack_of_16_bits_has_one_scale(tmp_path):
    pages = [Image.fromarray(np.full((20, 30), value, np.uint16)) for value in (100, 4000, 1000)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    found = [int(frame.rgb.max()) for frame in open_frames(tmp_path / "a.tif")]
    assert found == [round(value / 4095 * 255) for value in (100, 4000, 1000)]


def test_pages_of_two_sizes_and_broken_pages(tmp_path):
    first, second = Image.new("RGB", (40, 30)), Image.new("RGB", (20, 30))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(VideoError, match=r"frame 1: .*its size is 20x30"):
        list(open_frames(tmp_path / "a.tif"))
    data = stack(tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(VideoError, match=r"frame \d: .*b\.png: cannot be read as an image"):
        list(open_frames(tmp_path / "b.png"))


def test_an_imagej_stack_behind_one_page_is_refused(tmp_path):
    info = {270: "ImageJ=1.54f\nimages=9\nslices=9\n"}
    Image.new("L", (40, 30)).save(tmp_path / "a.tif", tiffinfo=info)
    with pytest.raises(VideoError, match="an ImageJ stack of 9 pictures"):
        open_frames(tmp_path / "a.tif")
