import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.vipmt.letterbox import Letterbox, normalise
from fewmask.vipmt.token_masks import repair_degenerate, to_tokens

sides = st.integers(1, 400)


@settings(deadline=None)
@given(sides, sides)
def test_the_picture_fits_and_touches_two_borders(height, width):
    box = Letterbox.fit((height, width), (48, 80))
    assert box.top + box.height <= 48
    assert box.left + box.width <= 80
    assert box.height == 48 or box.width == 80


@settings(deadline=None)
@given(sides, sides, st.integers(0, 399), st.integers(0, 399))
def test_a_single_marked_pixel_keeps_a_token(height, width, row, column):
    mask = np.zeros((height, width), dtype=bool)
    mask[row % height, column % width] = True
    placed = Letterbox.fit((height, width), (48, 80)).mask(mask)
    assert to_tokens(torch.from_numpy(placed)[None]).any()


def test_bars_are_black_and_the_content_comes_back():
    box = Letterbox.fit((40, 40), (48, 80))
    placed = box.image(np.full((40, 40, 3), 200, dtype=np.uint8))
    assert placed[:, :16].max() == 0
    assert placed[:, 16:64].min() == 200
    maps = torch.zeros(1, 48, 80)
    maps[:, :, 16:64] = 3
    torch.testing.assert_close(box.restore(maps), torch.full((1, 40, 40), 3.0))  # interpolation weights round


def test_the_networks_own_size_is_untouched():
    rgb = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    box = Letterbox.fit((48, 80), (48, 80))
    assert np.array_equal(box.image(rgb), rgb)
    grey = np.full((1, 2, 2, 3), 128, dtype=np.uint8)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalise(grey)[0, :, 0, 0], expected)


def test_repairs():
    masks = torch.stack((torch.zeros(5, 6), torch.ones(5, 6), torch.eye(6)[:5])).bool()
    empty, full, other = repair_degenerate(masks)
    assert int(empty.sum()) == 4
    assert empty[1:3, 2:4].all()
    assert int((~full).sum()) == 4
    assert not full[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert torch.equal(other, masks[2])
    assert not masks[0].any()
