"""Estimators and videos for tests: a red square moves; red is the object, boxes elsewhere are wrong proposals."""

from functools import partial

import cv2
import numpy as np

from fewmask.mining.flow import DisFlow
from fewmask.mining.synthetic_flow import natural_canvas

SIZE = (64, 96)


def frame(step, speed=2):
    """(rgb, mask) of one frame."""
    rgb = (natural_canvas(*SIZE) // 2 + 40).astype(np.uint8)
    mask = np.zeros(SIZE, dtype=bool)
    mask[20:44, 10 + speed * step : 34 + speed * step] = True
    texture = natural_canvas(*SIZE)[:24, :24, 0] // 8
    rgb[mask] = (255, 0, 0)
    rgb[20:44, 10 + speed * step : 34 + speed * step, 1] = texture
    return rgb, mask


def write_video(folder, length=12, speed=2):
    """A folder of PNG frames."""
    folder.mkdir(parents=True)
    for step in range(length):
        cv2.imwrite(str(folder / f"{step:03d}.png"), frame(step, speed)[0][:, :, ::-1])
    return folder


class RedProposer:
    """The red region, its left half, a box that overlaps it and one that does not."""

    calls = 0

    def __init__(self, fail_at=None):
        self.fail_at = fail_at

    def propose(self, rgb):
        type(self).calls += 1
        if self.fail_at is not None and type(self).calls > self.fail_at:
            raise KeyboardInterrupt
        red = (rgb[..., 0] > 200) & (rgb[..., 1] < 80)
        column = int(np.flatnonzero(red.any(axis=0))[0])
        half, box, corner = red.copy(), np.zeros_like(red), np.zeros_like(red)
        half[:, column + 12 :] = False
        box[15:30, max(column - 8, 0) : column + 10] = True
        corner[50:60, 70:90] = True
        return np.stack([corner, half, red, box]), np.array([0.9, 0.8, 0.2, 0.5])


class RedIsObject:
    """Background is likely where it is not red; unsure in the corner box."""

    def background(self, rgb):
        probability = np.full(rgb.shape[:2], 0.9, np.float32)
        probability[(rgb[..., 0] > 200) & (rgb[..., 1] < 80)] = 0.3
        probability[50:60, 70:90] = 0.48
        return probability


TOOLS = {"proposer": RedProposer, "background": RedIsObject, "flow": DisFlow}
failing_at = partial(partial, RedProposer)
