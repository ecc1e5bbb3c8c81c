"""Mask AP of a segmenter on still pictures: how well it finds objects before any linking."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fewmask.datasets.coco import CocoDataset, CocoImage
from fewmask.media import rle
from fewmask.minvis.frame_instances import frame_instances
from fewmask.minvis.segmenter import QuerySegmenter


def coco_figures(
    segmenter: QuerySegmenter,
    dataset: CocoDataset,
    images: Sequence[CocoImage],
    *,
    most: int = 100,
    categories: Sequence[int] | None = None,
) -> dict[str, float]:
    """AP, AP50, AP75, APs, APm, APl, AR10 and AR100; crowds are ignore regions as in COCO.

    Args:
        most: instances per picture.
        categories: category id of each class of the segmenter, whose further classes ("object") do not count; None =
            all categories merged.
    """
    predictions: list[dict[str, Any]] = []
    for image in images:
        rgb = dataset.read(image)
        found = frame_instances(
            segmenter(rgb[None], short_side=segmenter.short_side), 0, (image.height, image.width), most=most
        )
        masks = rle.encode_many(found.masks.cpu().numpy())
        predictions += [
            {
                "image_id": image.id,
                "category_id": categories[label] if categories else 1,
                "segmentation": mask,
                "score": float(score),
            }
            for mask, label, score in zip(masks, found.labels.tolist(), found.scores, strict=True)
            if categories is None or label < len(categories)
        ]
    truth = COCO()
    ids = {image.id for image in images}
    truth.dataset = {
        "images": [{"id": image.id, "height": image.height, "width": image.width} for image in images],
        "categories": [{"id": category, "name": str(category)} for category in categories or [1]],
        "annotations": [
            {"id": a.id + 1, "image_id": a.image_id, "category_id": a.category_id if categories else 1,
             "iscrowd": int(a.iscrowd), "area": a.area, "bbox": list(a.bbox), "segmentation": a.mask}
            for a in dataset.annotations if a.image_id in ids
        ],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(predictions), "segm") if predictions else None
        if evaluation is not None:
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
    stats = evaluation.stats if evaluation is not None else np.zeros(12)
    names = {"AP": 0, "AP50": 1, "AP75": 2, "APs": 3, "APm": 4, "APl": 5, "AR10": 7, "AR100": 8}
    return {name: float(stats[index]) for name, index in names.items()}
