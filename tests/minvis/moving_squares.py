"""A video of coloured squares and a segmenter that finds them by colour, its queries in another order every frame."""

import numpy as np
import torch

from fewmask.media.writer import VideoWriter
from fewmask.minvis.segmenter import SegmenterOutput

COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 70, 230]], dtype=np.int16)
SIZE = (64, 96)
QUERIES = 8


def square_boxes(t):
    """(top, left, side) of each square in frame t; the second leaves in frames 5 to 7."""
    boxes = [(6 + t % 20, 8 + t % 30, 14), (40, 60 - t % 25, 16), (20 + (t // 2) % 18, 44, 12)]
    if t % 24 in (5, 6, 7):
        boxes[1] = None
    return boxes


def picture(t):
    rgb = np.full((*SIZE, 3), 128, dtype=np.uint8)
    for box, colour in zip(square_boxes(t), COLOURS, strict=True):
        if box is not None:
            top, left, side = box
            rgb[top : top + side, left : left + side] = colour
    return rgb


def write_video(path, length, fps=10.0):
    with VideoWriter(path, SIZE, fps) as writer:
        for t in range(length):
            writer.write(picture(t))
    return path


class SquareSegmenter:
    """Three queries follow the colours, the rest are null; the order changes with the picture."""

    num_classes = 2
    categories = {0: "warm", 1: "cold"}  # noqa: RUF012
    short_side = None
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, queries=QUERIES):
        self.queries = queries
        self.frames_seen = 0

    def reset(self):
        pass

    def __call__(self, frames, *, short_side=None, max_size=1333):
        frames = np.asarray(frames)
        self.frames_seen += len(frames)
        count, height, width, _ = frames.shape
        classes = torch.zeros(count, self.queries, 3)
        masks = torch.full((count, self.queries, height // 4, width // 4), -4.0)
        embeddings = torch.zeros(count, self.queries, 16)
        basis = torch.from_numpy(np.random.default_rng(0).standard_normal((self.queries, 16))).float()
        for t, frame in enumerate(frames):
            order = np.random.default_rng(int(frame.astype(np.int64).sum())).permutation(self.queries)
            for role, query in enumerate(order):
                embeddings[t, query] = basis[role]
                classes[t, query] = torch.tensor([-2.0, -3.0 - role / 10, 3.0])
                if role < len(COLOURS):
                    inside = (np.abs(frame.astype(np.int16) - COLOURS[role]).sum(-1) < 60)[::4, ::4]
                    masks[t, query] = torch.from_numpy(np.where(inside, 5.0, -5.0)).float()
                    visible = 4.0 if inside.any() else -1.0
                    classes[t, query] = torch.tensor([visible - role, -1.0, 0.0])
        return SegmenterOutput(classes, masks, embeddings, (height, width), (height, width))
