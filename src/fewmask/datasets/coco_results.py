"""COCO result files: a list of scored masks, every value checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewmask.datasets import segmentation
from fewmask.datasets.coco import CocoDataset
from fewmask.datasets.json_file import integer, number
from fewmask.datasets.json_records import iterate_json_list
from fewmask.errors import DatasetError
from fewmask.media.rle import Rle


@dataclass(frozen=True, slots=True)
class CocoResult:
    """One predicted mask in one image."""

    image_id: int
    category_id: int
    score: float
    mask: Rle


def read_coco_results(path: str | Path, dataset: CocoDataset, *, any_category: bool = False) -> tuple[CocoResult, ...]:
    """A list of ``{image_id, category_id, score, segmentation}``; masks as run lengths or polygons.

    Args:
        path: the file.
        dataset: what the results belong to; ids and mask sizes are checked against it.
        any_category: accept category ids that the dataset does not have, or none at all.

    Raises:
        DatasetError: anything malformed; the message names file, place and key.
    """
    path = Path(path)
    sizes: Mapping[int, tuple[int, int]] = {image.id: (image.height, image.width) for image in dataset.images}
    results: list[CocoResult] = []
    counts: list[str] = []
    pixels: list[int] = []
    places: list[str] = []
    for index, record in enumerate(iterate_json_list(path)):
        where = f"{path}: [{index}]"
        image_id = integer(record, "image_id", where)
        if image_id not in sizes:
            raise DatasetError(f"{where}: 'image_id' {image_id} is not among the images of the ground truth")
        category_id = 0 if any_category and "category_id" not in record else integer(record, "category_id", where)
        if not any_category and category_id not in dataset.categories:
            raise DatasetError(f"{where}: 'category_id' {category_id} is not among the categories of the ground truth")
        score = float(number(record, "score", where))
        if "segmentation" not in record:
            raise DatasetError(f"{where}: key 'segmentation' is missing; boxes alone are not evaluated")
        value, (height, width) = record["segmentation"], sizes[image_id]
        segmentation.check_form(value, height, width, where)
        if isinstance(value, dict) and isinstance(value["counts"], str):
            counts.append(value["counts"])
            pixels.append(height * width)
            places.append(where)
        results.append(CocoResult(image_id, category_id, score, segmentation.to_rle(value, height, width, where)))
    segmentation.check_counts(counts, pixels, places)
    return tuple(results)
