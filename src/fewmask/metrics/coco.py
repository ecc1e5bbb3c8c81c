"""COCO mask AP, and AR with 1, 3 and 5 detections an image, class-agnostic or not; pycocotools inside."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fewmask.datasets.coco import CocoDataset
from fewmask.datasets.coco_results import CocoResult
from fewmask.errors import DatasetError
from fewmask.media import rle

Figure = float | None

MAX_DETECTIONS = (1, 3, 5, 100)
SIZES = {"AP_small": (0.0, 32.0**2), "AP_medium": (32.0**2, 96.0**2), "AP_large": (96.0**2, 1e10)}
"""Pixels of an object."""


def evaluate_coco(
    dataset: CocoDataset, results: Sequence[CocoResult], *, class_agnostic: bool = True
) -> dict[str, Figure]:
    """AP, AP50 and AP75 over up to 100 detections an image; AR1, AR3 and AR5 over the first 1, 3 and 5 (IoU 0.5 to
    0.95); and the AP of small, medium and large objects.

    Args:
        dataset: the ground truth; annotation ids may be anything, 0 included.
        results: predicted masks.
        class_agnostic: one class; category ids mean nothing.

    Returns:
        Values in [0, 1], None where the ground truth has no object that counts.

    Raises:
        DatasetError: a result of an image that the dataset does not have.
    """
    images = {image.id for image in dataset.images}
    unknown = next((index for index, result in enumerate(results) if result.image_id not in images), None)
    if unknown is not None:
        raise DatasetError(f"result {unknown}: image {results[unknown].image_id} is not in the ground truth")
    categories = [1] if class_agnostic else sorted(dataset.categories)
    truth = _index(
        dataset,
        categories,
        [
            {
                "image_id": annotation.image_id,
                "category_id": 1 if class_agnostic else annotation.category_id,
                "segmentation": annotation.mask,
                "iscrowd": int(annotation.iscrowd),
                "area": annotation.area,
            }
            for annotation in dataset.annotations
        ],
    )
    found = _index(
        dataset,
        categories,
        [
            {
                "image_id": result.image_id,
                "category_id": 1 if class_agnostic else result.category_id,
                "segmentation": result.mask,
                "iscrowd": 0,
                "area": rle.area(result.mask),
                "score": result.score,
            }
            for result in results
        ],
    )
    with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(truth, found, "segm")
        evaluation.params.maxDets = list(MAX_DETECTIONS)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = (
            [[0, 1e10], *map(list, SIZES.values())],
            ["all", *SIZES],
        )
        evaluation.evaluate()
        evaluation.accumulate()
    # precision [threshold, recall, class, area, max detections], recall [threshold, class, area, max detections]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    recall = evaluation.eval["recall"][:, :, 0]
    return {
        "AP": _mean(precision),
        "AP50": _mean(precision[0]),
        "AP75": _mean(precision[5]),
        "AR1": _mean(recall[..., 0]),
        "AR3": _mean(recall[..., 1]),
        "AR5": _mean(recall[..., 2]),
        **{name: _mean(evaluation.eval["precision"][:, :, :, place, -1]) for place, name in enumerate(SIZES, 1)},
    }


def _index(dataset: CocoDataset, categories: Sequence[int], annotations: list[dict[str, Any]]) -> Any:
    """A pycocotools index; annotations are numbered from 1, because 0 means "none" to pycocotools."""
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image.id, "height": image.height, "width": image.width} for image in dataset.images],
        "categories": [{"id": category, "name": str(category)} for category in categories],
        "annotations": annotations,
    }
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _mean(values: npt.NDArray[np.float64]) -> Figure:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
