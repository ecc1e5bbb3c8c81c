"""Videos of a bright square before one colour, and an embedder that knows colours: a pool in a second."""

import cv2
import numpy as np

from fewmask.media.writer import VideoWriter
from fewmask.retrieval.clips import SIDE

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200), "grey": (120, 120, 120)}


class MeanColours:
    """Embeds a clip by its coarse colours."""

    name = "mean-colours"
    dimension = 12
    calls = 0

    def embed(self, clips):
        self.calls += len(clips)
        small = clips.reshape(*clips.shape[:2], 2, SIDE // 2, 2, SIDE // 2, 3).mean((1, 3, 5))
        vectors = small.reshape(len(clips), -1).astype(np.float32) - 110
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def moving_square(colour, count, size=(72, 128), seed=0, speed=1.0):
    """Frames of a bright square crossing a textured background."""
    texture = np.random.default_rng(seed).integers(-40, 40, (9, 16, 1))
    background = cv2.resize(texture.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    background = np.clip(np.array(colour) + background, 0, 255).astype(np.uint8)
    for index in range(count):
        frame = background.copy()
        left = int(5 + speed * index) % (size[1] - 20)
        frame[20:40, left : left + 20] = 255
        yield frame


def write_video(path, *parts, fps=10, size=(72, 128)):
    with VideoWriter(path, size, fps) as writer:
        for part in parts:
            for frame in part:
                writer.write(frame)
    return path
