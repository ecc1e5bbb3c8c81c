"""Runs as `fewmask segment` leaves them, made without a network: discs that move over a short video."""

import json
from pathlib import Path

import cv2
import numpy as np

from fewmask.media import rle
from fewmask.media.video_facts import VideoFacts
from fewmask.media.writer import VideoWriter

SIZE = (48, 64)


def disc(size, centre, radius):
    """A mask bool [H, W]."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows - centre[1]) ** 2 + (columns - centre[0]) ** 2 <= radius**2


def dense_tracks(length=200, size=SIZE, count=3, seed=0):
    """Track id -> bool [T, H, W]; tracks come and go."""
    chance = np.random.default_rng(seed)
    tracks = {}
    for track in range(1, count + 1):
        first, last = sorted(chance.integers(0, length, 2).tolist())
        if track == 1:
            first, last = 0, length - 1
        masks = np.zeros((length, *size), bool)
        for frame in range(first, last + 1):
            x = (7 * track + frame * (0.5 + 0.3 * track)) % size[1]
            masks[frame] = disc(size, (x, size[0] * track / (count + 1)), 4 + track)
        tracks[track] = masks
    return tracks


def write_run(folder: Path, tracks, *, source=None, names=("object",), scores=None, min_score=0.3):
    """A run with these dense tracks; class ids count through ``names``."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for place, (track_id, masks) in enumerate(tracks.items()):
        runs = rle.encode_many(masks)
        entries.append(
            {
                "video_id": 1,
                "track_id": track_id,
                "category_id": place % len(names) + 1,
                "score": 0.9 - 0.1 * place if scores is None else scores[place],
                "segmentations": [run if mask.any() else None for run, mask in zip(runs, masks, strict=True)],
            }
        )
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"
    (folder / "tracks.json").write_text(text)
    length = len(next(iter(tracks.values()))) if tracks else 0
    manifest = {
        "inputs": {"source": None if source is None else {"path": str(source)}},
        "settings": {"min_score": min_score},
        "progress": {"frames": length, "tracks": len(tracks)},
        "command": ["fewmask", "segment", str(source)],
        "status": "finished",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    height, width = next(iter(tracks.values()))[0].shape if tracks else SIZE
    facts = VideoFacts(name="made", height=height, width=width, categories=dict(enumerate(names, 1)), length=length)
    facts.write(folder)
    return folder


def write_video(path: Path, length=200, size=SIZE, fps=25.0, tracks=None):
    """A video whose frames say their number: a row of black and white blocks along the top, least bit first."""
    with VideoWriter(path, size, fps) as writer:
        for index in range(length):
            writer.write(numbered(index, size, tracks))
    return path


def numbered(index, size, tracks=None):
    """One such frame; the tracks are grey discs in it."""
    picture = np.full((*size, 3), 60, np.uint8)
    for masks in (tracks or {}).values():
        picture[masks[index]] = (200, 120, 60)
    block = size[1] // 16
    for bit in range(16):
        cv2.rectangle(
            picture,
            (bit * block, 0),
            ((bit + 1) * block - 1, max(7, size[0] // 8)),
            (255 * (index >> bit & 1),) * 3,
            -1,
        )
    return picture


def number_of(picture):
    """What `numbered` wrote, read from a picture of any size."""
    height, width = picture.shape[:2]
    block = width // 16
    row = picture[max(3, height // 24), :, 0]
    return sum(int(row[bit * block + block // 2] > 127) << bit for bit in range(16))
