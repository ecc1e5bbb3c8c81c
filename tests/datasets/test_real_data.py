"""Readers on real COCO pictures and real DAVIS sequences, beside pycocotools and plain NumPy."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fewmask.datasets.coco import read_coco, write_coco
from fewmask.datasets.davis import read_davis
from fewmask.media import rle

DATA = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[3] / "shared")) / "data"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")]


def test_every_coco_mask_is_the_one_pycocotools_makes(tmp_path: Path) -> None:
    path = DATA / "coco_mini/instances.json"
    dataset, peer = read_coco(path), COCO(str(path))
    assert (len(dataset.images), len(dataset.annotations), len(dataset.categories)) == (649, 6841, 80)
    for annotation in dataset.annotations:
        counts = peer.annToRLE(peer.anns[annotation.id])["counts"]
        assert annotation.mask["counts"] == (counts.decode() if isinstance(counts, bytes) else counts)
    assert sum(image.extra["all80"] for image in dataset.images) == 500
    assert all(dataset.path_of(image).is_file() for image in dataset.images)
    write_coco(dataset, tmp_path / "again.json")
    again = read_coco(tmp_path / "again.json")
    assert (again.images, again.annotations, again.categories) == (
        dataset.images, dataset.annotations, dataset.categories)  # fmt: skip


def test_davis_masks_are_those_in_the_pngs() -> None:
    root = DATA / "davis_train"
    dataset, frames = read_davis(root)
    assert (len(dataset.videos), sum(video.length for video in dataset.videos)) == (30, 2079)
    for video, track in zip(dataset.videos, dataset.annotations, strict=True):
        for frame in range(0, video.length, 25):
            assert (frames / video.file_names[frame]).is_file()
            with Image.open((root / "Annotations" / video.file_names[frame]).with_suffix(".png")) as image:
                expected = np.asarray(image.convert("L")) > 0
            mask = track.segmentations[frame]
            found = np.zeros_like(expected) if mask is None else rle.decode(mask)
            np.testing.assert_array_equal(found, expected)
