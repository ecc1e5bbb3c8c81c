"""Pictures and videos of bright squares, and a recipe that learns a little of them in seconds."""

import json

import numpy as np
from PIL import Image

from fewmask.datasets.ytvis_types import YtvisCategory, YtvisDataset, YtvisVideo, annotation_from_masks
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.media import rle

TINY = """
hold_out = 4
sizes = [[64, 64]]
points = 256
validation_short_side = 64
backbone_rate = 1.0
[network]
backbone = "timm:mobilenetv3_small_050"
queries = 6
width = 32
encoder_layers = 1
decoder_layers = 2
feedforward = 64
[augmentation]
scale = [0.9, 1.1]
turn = 0.0
[train]
steps = 12
batch_size = 4
learning_rate = 1e-3
ema = 0.9
log_every = 4
checkpoint_every = 5
"""


def write_pictures(folder):
    """Twelve pictures with one to three bright squares of two classes, as a COCO folder with a recipe."""
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(12):
        rgb = random.integers(0, 60, (64, 64, 3)).astype(np.uint8)
        for j in range(1 + i % 3):
            mask = np.zeros((64, 64), dtype=bool)
            top, left = 2 + 20 * j, int(random.integers(0, 40))
            mask[top : top + 18, left : left + 18] = True
            rgb[mask] = random.integers(180, 255, 3)
            entry = {"id": len(annotations) + 1, "image_id": i, "category_id": 1 + j % 2, "iscrowd": 0}
            annotations.append(entry | {"segmentation": rle.encode(mask), "area": 324, "bbox": [left, top, 18, 18]})
        Image.fromarray(rgb).save(folder / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "height": 64, "width": 64})
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    (folder / "tiny.toml").write_text(TINY)
    return folder


def write_videos(folder):
    """Four videos of 20 frames with two squares of two classes, one of them absent in every other frame."""
    entries, annotations = [], []
    for v in range(1, 5):
        names = [f"{v}/{t:05d}.png" for t in range(20)]
        tracks = [[], []]
        for t, name in enumerate(names):
            rgb = np.full((48, 64, 3), 20, dtype=np.uint8)
            for j in range(2):
                mask = np.zeros((48, 64), dtype=bool)
                mask[5 + 20 * j : 20 + 20 * j, t : t + 15] = True
                absent = j == 1 and t % 2
                tracks[j].append(None if absent else rle.encode(mask))
                rgb[mask & (not absent)] = 200
            path = folder / "JPEGImages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb).save(path)
        entries.append(YtvisVideo(v, 64, 48, 20, tuple(names)))
        annotations += [
            annotation_from_masks(id=2 * v + j, video_id=v, category_id=3 + j, segmentations=tracks[j])
            for j in range(2)
        ]
    dataset = YtvisDataset(tuple(entries), (YtvisCategory(3, "a"), YtvisCategory(4, "b")), tuple(annotations))
    write_ytvis(folder / "instances.json", dataset)
    return folder
