"""Masks in every form that people have, each against the same ellipse."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from fewmask.datasets.label_maps import write_label_map
from fewmask.datasets.mask_pictures import read_label_map, read_mask
from fewmask.errors import DatasetError

SIZE = (120, 90)


def ellipse() -> np.ndarray:
    image = Image.new("L", SIZE)
    ImageDraw.Draw(image).ellipse((30, 22, 70, 66), fill=255)
    return np.asarray(image) > 127


INSIDE = ellipse()
WHITE = INSIDE.astype(np.uint8) * 255


def two_colours(first: tuple[int, int, int], second: tuple[int, int, int], indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([*first, *second])
    return image


def rgba(colour: np.ndarray | int, alpha: np.ndarray | int) -> Image.Image:
    pixels = np.zeros((*INSIDE.shape, 4), np.uint8)
    pixels[..., :3] = np.asarray(colour)[..., None] if np.ndim(colour) == 2 else colour
    pixels[..., 3] = alpha
    return Image.fromarray(pixels)


noise = np.random.default_rng(0).integers(0, 255, INSIDE.shape).astype(np.uint8)
EXACT = {
    "grey 255.png": Image.fromarray(WHITE),
    "grey 1.png": Image.fromarray(INSIDE.astype(np.uint8)),
    "grey 7.bmp": Image.fromarray(INSIDE.astype(np.uint8) * 7),
    "one bit.png": Image.fromarray(INSIDE),
    "one bit.tif": Image.fromarray(INSIDE),
    "16 bits.png": Image.fromarray(INSIDE.astype(np.uint16) * 65535),
    "16 bits of 1.tif": Image.fromarray(INSIDE.astype(np.uint16)),
    "palette.png": two_colours((0, 0, 0), (128, 0, 0), INSIDE),
    "palette.gif": two_colours((0, 0, 0), (255, 255, 255), INSIDE),
    "palette, white first.png": two_colours((255, 255, 255), (0, 0, 0), ~INSIDE),
    "palette without colours.png": two_colours((0, 0, 0), (0, 0, 0), INSIDE),
    "colours.png": Image.fromarray(np.dstack([WHITE] * 3)),
    "red.png": Image.fromarray(np.dstack([WHITE, WHITE * 0, WHITE * 0])),
    "colour of VOC.png": Image.fromarray(np.dstack([WHITE // 255 * 128, WHITE * 0, WHITE * 0])),
    "alpha, white.png": rgba(255, WHITE),
    "alpha, black.png": rgba(0, WHITE),
    "alpha of a cut-out.png": rgba(noise, WHITE),
    "opaque.png": rgba(WHITE, 255),
    "all clear.png": rgba(WHITE, 0),
    "grey and alpha.png": Image.merge("LA", [Image.new("L", SIZE, 200), Image.fromarray(WHITE)]),
    "floats.tif": Image.fromarray(INSIDE.astype(np.float32)),
    "lossless.webp": Image.fromarray(np.dstack([WHITE] * 3)),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_same_mask_in_every_form(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    EXACT[name].save(tmp_path / name, **options)
    np.testing.assert_array_equal(read_mask(tmp_path / name), INSIDE)
    labels = read_label_map(tmp_path / name, size=INSIDE.shape)
    np.testing.assert_array_equal(labels != 0, INSIDE)
    assert len(np.unique(labels)) == 2


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "colour.jpg", "rough.jpg", "soft.png", "soft.tif", "wide.png"])
def test_soft_edges_and_ringing_are_cut_at_half_of_white(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(WHITE)
    if name.startswith("soft"):
        image = image.filter(ImageFilter.GaussianBlur(1.2))
    if name == "wide.png":
        image = Image.fromarray(np.asarray(image.filter(ImageFilter.GaussianBlur(1.2))).astype(np.uint16) * 257)
    if name.startswith("colour"):
        image = image.convert("RGB")
    image.save(tmp_path / name, quality=40 if name.startswith("rough") else 90)
    for found in (read_mask(tmp_path / name), read_label_map(tmp_path / name) == 255):
        assert abs(int(found.sum()) - int(INSIDE.sum())) <= 0.03 * INSIDE.sum()
        assert (found & INSIDE).sum() / (found | INSIDE).sum() > 0.95


def test_labels_are_not_taken_for_soft_edges(tmp_path: Path) -> None:
    labels = np.zeros((90, 120), np.uint8)
    for value in range(1, 15):
        labels[5 * value : 5 * value + 5, 8:100] = value * 17
    labels[0:3] = 255
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), labels != 0)


def test_colours_of_the_usual_palette_are_its_labels(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(30, dtype=np.uint8), 40).reshape(30, 40)
    write_label_map(tmp_path / "a.png", labels)
    for mode in ("RGB", "RGBA"):
        with Image.open(tmp_path / "a.png") as image:
            image.convert(mode).save(tmp_path / "b.png")
        np.testing.assert_array_equal(read_label_map(tmp_path / "b.png"), labels)
        np.testing.assert_array_equal(read_mask(tmp_path / "b.png"), labels != 0)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_masks_are_turned_as_pictures_are(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.fromarray(WHITE) as image:
        image.save(tmp_path / "a.png", exif=exif)
        image.save(tmp_path / "a.tif", exif=exif)
    expected = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose, 6: lambda a: np.rot90(a, -1),
                7: lambda a: np.rot90(np.flipud(a)), 8: np.rot90}[orientation](INSIDE)  # fmt: skip
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), expected)
    if orientation >= 5:  # the tag was copied along, the mask was drawn on the upright picture
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png", size=INSIDE.shape), INSIDE)
        np.testing.assert_array_equal(read_label_map(tmp_path / "a.png", size=INSIDE.shape), WHITE)


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    levels = (np.arange(90 * 120).reshape(90, 120) // 2000 * 40).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "levels.jpg")
    Image.fromarray(INSIDE.astype(np.uint8)).save(tmp_path / "ones.jpg")
    for name in ("levels.jpg", "ones.jpg"):
        with pytest.raises(DatasetError, match="a JPEG of more than black and white"):
            read_label_map(tmp_path / name)
    Image.fromarray(np.full((9, 9), 0.3, np.float32) * np.arange(9, dtype=np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DatasetError, match="floating-point pixels"):
        read_mask(tmp_path / "f.tif")
    first = Image.fromarray(WHITE)
    first.save(tmp_path / "two.tif", save_all=True, append_images=[first])
    with pytest.raises(DatasetError, match="holds 2 pictures"):
        read_mask(tmp_path / "two.tif")
    Image.new("L", SIZE).save(tmp_path / "black.jpg")
    assert not read_mask(tmp_path / "black.jpg").any()
