"""A contact sheet per kind of what was kept, drawn from the dataset itself: what is looked at is what is taught."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.datasets.json_file import load_object
from fewmask.media import rle
from fewmask.media.frame_source import RgbImage
from fewmask.media.image_files import read_rgb
from fewmask.pipelines.grow.group_sheet import ROWS, draw_group
from fewmask.pipelines.grow.kept_dataset import OBJECT
from fewmask.pipelines.grow.track_views import object_picture

_COLUMNS = 5
_Seen = list[tuple[Mapping[str, Any], Mapping[str, Any]]]


def draw_kept(folder: Path) -> list[Path]:
    """Write ``kept-01.jpg`` and so on, one per kind of which something was kept: its tracks, the surest first.

    Args:
        folder: a dataset of `fewmask.pipelines.grow.kept_dataset.write_kept`.
    """
    document = load_object(folder / "instances.json")
    images = {image["id"]: image for image in document["images"]}
    names = {category["id"]: category["name"] for category in document["categories"]}
    tracks: dict[int, dict[tuple[str, int], _Seen]] = {}
    for annotation in document["annotations"]:
        if annotation["category_id"] != OBJECT and not annotation["iscrowd"]:
            image = images[annotation["image_id"]]
            by_track = tracks.setdefault(annotation["category_id"], {})
            by_track.setdefault((image["video"], annotation["track_id"]), []).append((image, annotation))
    sheets = []
    for category, by_track in sorted(tracks.items()):
        ranked = sorted(by_track.items(), key=lambda entry: -entry[1][0][1]["score"])
        rows = []
        for place, ((video, track), seen) in enumerate(ranked):
            label = f"{video}\ntrack {track}\nconfidence {seen[0][1]['score']:.2f}"
            rows.append((label, _views(folder, seen) if place < ROWS else []))
        sheets.append(folder / f"kept-{category - OBJECT:02d}.jpg")
        draw_group(sheets[-1], f"{names[category]}: {len(rows)} tracks kept", rows, columns=_COLUMNS)
    return sheets


def _views(folder: Path, seen: _Seen) -> list[RgbImage]:
    chosen = np.linspace(0, len(seen) - 1, min(_COLUMNS, len(seen))).round().astype(int).tolist()
    return [_cut_out(folder, *seen[place]) for place in chosen]


def _cut_out(folder: Path, image: Mapping[str, Any], annotation: Mapping[str, Any]) -> RgbImage:
    rgb = read_rgb(folder / "images" / image["file_name"])
    mask: rle.Rle = {"size": list(annotation["segmentation"]["size"]), "counts": annotation["segmentation"]["counts"]}
    return object_picture(rgb, mask)
