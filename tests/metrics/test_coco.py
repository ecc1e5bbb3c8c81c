"""COCO masks: pycocotools called plainly, and what its own quirks must not do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fewmask.datasets.coco import read_coco
from fewmask.datasets.coco_results import read_coco_results
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.metrics.coco import evaluate_coco

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _files(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    generator = np.random.default_rng(seed)

    def mask() -> Any:
        bitmap = np.zeros((300, 400), dtype=bool)
        top, left = generator.integers(0, 200, 2)
        side = int(generator.choice([12, 40, 95]))  # small, medium and large
        bitmap[top : top + side + generator.integers(9), left : left + side + generator.integers(9)] = True
        return bitmap

    images = [{"id": i, "file_name": f"{i}.jpg", "height": 300, "width": 400} for i in (4, 9, 2)]
    annotations, results = [], []
    for image in images:
        for _ in range(4):
            bitmap = mask()
            encoded = rle.encode(bitmap)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image["id"], "category_id": int(generator.choice([3, 8])),
                    "segmentation": encoded, "iscrowd": int(generator.random() < 0.2), "area": rle.area(encoded),
                    "bbox": list(rle.bbox(encoded)),
                }
            )  # fmt: skip
            results += [
                {
                    "image_id": image["id"], "category_id": int(generator.choice([3, 8])),
                    "segmentation": rle.encode(np.roll(bitmap, shift, 1)), "score": float(generator.random()),
                }
                for shift in (0, 7)
            ]  # fmt: skip
    gt = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "a"}, {"id": 8, "name": "b"}]}
    (folder / "gt.json").write_text(json.dumps(gt))
    (folder / "pred.json").write_text(json.dumps(results))
    return folder / "gt.json", folder / "pred.json"


def _plainly(gt: Path, pred: Path, *, class_agnostic: bool) -> dict[str, float]:
    truth = COCO(str(gt))
    evaluation = COCOeval(truth, truth.loadRes(str(pred)), "segm")
    evaluation.params.maxDets = [1, 3, 5, 100]
    evaluation.params.useCats = int(not class_agnostic)
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][:, :, :, 0, 3], evaluation.eval["recall"][:, :, 0]

    def mean(values: Any) -> float:
        return float(values[values > -1].mean())

    return {
        "AP": mean(precision), "AP50": mean(precision[0]), "AP75": mean(precision[5]),
        "AR1": mean(recall[..., 0]), "AR3": mean(recall[..., 1]), "AR5": mean(recall[..., 2]),
        **{f"AP_{name}": mean(evaluation.eval["precision"][:, :, :, place, 3])
           for place, name in enumerate(("small", "medium", "large"), 1)},
    }  # fmt: skip


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_equal_to_pycocotools(tmp_path: Path, class_agnostic: bool, capsys: pytest.CaptureFixture[str]) -> None:
    gt, pred = _files(tmp_path)
    dataset = read_coco(gt)
    capsys.readouterr()
    found = evaluate_coco(dataset, read_coco_results(pred, dataset), class_agnostic=class_agnostic)
    assert capsys.readouterr().out == ""
    assert found == pytest.approx(_plainly(gt, pred, class_agnostic=class_agnostic), abs=1e-12)


def test_annotation_id_0_and_unknown_categories_change_nothing(tmp_path: Path) -> None:
    gt, pred = _files(tmp_path)
    dataset = read_coco(gt)
    wanted = evaluate_coco(dataset, read_coco_results(pred, dataset))
    value = json.loads(gt.read_text())
    for annotation in value["annotations"]:
        annotation["id"] -= 1
    gt.write_text(json.dumps(value))
    results = json.loads(pred.read_text())
    for result in results[::2]:
        result["category_id"] = 77
    for result in results[1::2]:
        del result["category_id"]
    pred.write_text(json.dumps(results))
    dataset = read_coco(gt)
    assert evaluate_coco(dataset, read_coco_results(pred, dataset, any_category=True)) == wanted
    with pytest.raises(DatasetError, match=r"pred\.json: \[0\]: 'category_id' 77"):
        read_coco_results(pred, dataset)


def test_nothing_predicted_and_nothing_there(tmp_path: Path) -> None:
    gt, _ = _files(tmp_path)
    dataset = read_coco(gt)
    assert set(evaluate_coco(dataset, ()).values()) == {0.0}
    value = json.loads(gt.read_text()) | {"annotations": []}
    gt.write_text(json.dumps(value))
    assert set(evaluate_coco(read_coco(gt), ()).values()) == {None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 5}, "image_id"),
        ({"score": None}, "score"),
        ({"segmentation": {"size": [30, 40], "counts": "1"}}, "RLE"),
        ({"segmentation": {"size": [40, 30], "counts": "1"}}, "40x30"),
        ({"segmentation": [[1, 2]]}, "polygon"),
    ],
)
def test_malformed_results(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    gt, pred = _files(tmp_path)
    results = json.loads(pred.read_text())
    results[3] |= change
    pred.write_text(json.dumps(results))
    with pytest.raises(DatasetError, match=words) as caught:
        read_coco_results(pred, read_coco(gt))
    assert "pred.json: [3]" in str(caught.value)
