import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_datasets import blocks, save_labels

from fewmask.datasets.label_maps import write_label_map
from fewmask.datasets.mask_pictures import read_label_map
from fewmask.errors import DatasetError


@given(st.sampled_from([1, 2, 254, 255, 256, 65535]), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_round_trip(highest: int, height: int, width: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, highest + 1, (height, width))
    with tempfile.TemporaryDirectory() as folder:
        write_label_map(Path(folder) / "a.png", labels)
        np.testing.assert_array_equal(read_label_map(Path(folder) / "a.png", size=(height, width)), labels)


def test_palette_is_that_of_davis(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.png", np.arange(22).reshape(2, 11))
    with Image.open(tmp_path / "a.png") as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0), 21: (128, 64, 128)}
    for label, colour in known.items():
        assert tuple(palette[label]) == colour


def test_binary_map_is_grey(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.png", blocks(255))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_every_kind_of_binary_mask(tmp_path: Path, mode: str) -> None:
    Image.fromarray(blocks(255)).convert(mode).save(tmp_path / "a.png")
    expected = blocks(255)
    if mode == "P":  # a palette image is read by index, whatever its colours
        with Image.open(tmp_path / "a.png") as image:
            expected = np.asarray(image)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), expected)


def test_what_is_no_label_map(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(DatasetError, match="is missing"):
        read_label_map(path)
    path.write_bytes(b"GIF89a nonsense")
    with pytest.raises(DatasetError, match="not a readable picture of a mask"):
        read_label_map(path)
    save_labels(path, blocks(1))
    with pytest.raises(DatasetError, match=r"has 12x16 pixels, its frame has 16x12 \(height x width\)"):
        read_label_map(path, size=(16, 12))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match="not a readable picture of a mask"):
        read_label_map(path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 5, 3), dtype=np.uint8)).save(path)
    with pytest.raises(DatasetError, match="colour picture"):
        read_label_map(path)
