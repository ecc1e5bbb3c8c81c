"""A tiny COCO dataset with drawn objects, made on the spot: three classes, one crowd, one partly annotated image."""

import json
from pathlib import Path

import cv2
import numpy as np

from fewmask.media import rle

COLOURS = {1: (250, 10, 10), 2: (10, 250, 10), 5: (10, 10, 250)}
NAMES = {1: "disc", 2: "box", 5: "wedge"}
HEIGHT, WIDTH = 90, 120


def write_scene(folder: Path, *, images: int = 6, scale: int = 1) -> Path:
    """``images`` pictures of grey noise with two or three objects each, and their ``instances.json``."""
    height, width = scale * HEIGHT, scale * WIDTH
    rng = np.random.default_rng(7)
    (folder / "images").mkdir(parents=True)
    document: dict = {
        "images": [],
        "annotations": [],
        "categories": [{"id": key, "name": name} for key, name in NAMES.items()],
    }
    for image_id in range(1, images + 1):
        picture = rng.integers(90, 150, (height, width, 1)).repeat(3, 2).astype(np.uint8)
        entry = {"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width}
        document["images"].append(entry | ({"all80": False} if image_id == images else {}))
        for column, category in enumerate(COLOURS):
            if image_id == 1 and category == 5:
                continue
            centre = np.array([20 + 40 * column, int(rng.integers(25, 65))])
            polygon = scale * (_outline(category, rng.uniform(10, 15)) + centre)
            _add(document, picture, image_id, category, polygon)
        if image_id == 2:
            crowd = np.zeros((height, width), bool)
            crowd[80 * scale :, : 30 * scale] = True
            picture[crowd] = COLOURS[1]
            _entry(
                document,
                image_id,
                1,
                rle.encode(crowd),
                (0, 80 * scale, 30 * scale, 10 * scale),
                int(crowd.sum()),
                iscrowd=1,
            )
        cv2.imwrite(str(folder / "images" / f"{image_id}.png"), picture[..., ::-1])
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path


def _outline(category: int, radius: float) -> np.ndarray:
    corners = {1: 24, 2: 4, 5: 3}[category]
    angles = np.arange(corners) * 2 * np.pi / corners + 0.3
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def _add(document: dict, picture: np.ndarray, image_id: int, category: int, polygon: np.ndarray) -> None:
    flat = polygon.round(2).ravel().tolist()
    mask = rle.from_polygons([flat], *picture.shape[:2])
    picture[rle.decode(mask)] = COLOURS[category]
    _entry(document, image_id, category, [flat], rle.bbox(mask), rle.area(mask), iscrowd=0)


def _entry(document: dict, image_id: int, category: int, segmentation, bbox, area, *, iscrowd: int) -> None:
    document["annotations"].append(
        {
            "id": len(document["annotations"]) + 1,
            "image_id": image_id,
            "category_id": category,
            "iscrowd": iscrowd,
            "segmentation": segmentation,
            "bbox": list(bbox),
            "area": area,
        }
    )
