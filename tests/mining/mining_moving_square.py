"""A textured square that moves over a textured, still background: what is right is known."""

import numpy as np

from fewmask.mining.synthetic_flow import natural_canvas

SIZE = (96, 128)


def scene(step, *, side=32, top=30, left=20, speed=3):
    """(rgb uint8 [H, W, 3], mask bool [H, W]) of frame ``step``."""
    background = natural_canvas(*SIZE)[:, ::-1]
    texture = natural_canvas(200, 200)[50 : 50 + side, 80 : 80 + side][:, :, ::-1]
    rgb, mask = background.copy(), np.zeros(SIZE, dtype=bool)
    x = left + speed * step
    rgb[top : top + side, x : x + side] = texture
    mask[top : top + side, x : x + side] = True
    return rgb, mask
