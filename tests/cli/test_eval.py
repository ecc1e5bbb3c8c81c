"""`fewmask eval`: every sub-command on small files, what it writes, and how it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fewmask.cli.eval import app
from fewmask.errors import FewmaskError
from fewmask.media import rle

FIXTURES = Path(__file__).parent.parent / "metrics" / "fixtures" / "ytvis_eval"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
TWELVE = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def run(*arguments: object) -> str:
    """Output of a run that succeeds; what it refuses is raised."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def tracks(name: str, verb: str = "ytvis") -> list[object]:
    case = EXPECTED[name]
    chosen: list[object] = [verb, "--gt", FIXTURES / case["gt"], "--pred", FIXTURES / case["pred"]]
    return chosen if case["useCats"] else [*chosen, "--class-agnostic"]


@pytest.mark.parametrize("name", ["basic", "basic__useCats0", "ovis_occlusion", "formats_and_ids"])
def test_json_has_the_recorded_figures(name: str, tmp_path: Path) -> None:
    case = EXPECTED[name]
    out = tmp_path / "new" / "scores.json"
    printed = run(*tracks(name, case["evaluator"]), "--json-file", out)
    written = json.loads(out.read_text())
    assert list(written["stats"])[:12] == TWELVE
    for key, value in case["stats"].items():
        assert written["stats"][key] == (None if value == -1 else pytest.approx(value, abs=1e-9))
    assert written["per_category"].keys() == case["per_category"].keys()
    for label, figures in case["per_category"].items():
        assert written["per_category"][label] == pytest.approx(figures, abs=1e-9)
    assert f"{case['stats']['AP']:.4f}" in printed
    assert "Worst videos" in printed
    assert str(out) in printed.replace("\n", "")


def test_json_is_one_object_on_standard_output(tmp_path: Path) -> None:
    printed = run(*tracks("basic"), "--json", "--json-file", tmp_path / "a.json")
    assert json.loads(printed) == json.loads((tmp_path / "a.json").read_text())
    assert json.loads(printed)["stats"]["AP"] == pytest.approx(EXPECTED["basic"]["stats"]["AP"], abs=1e-9)


def test_quirks_and_no_quirks(tmp_path: Path) -> None:
    wanted = EXPECTED["quirk_short_sequences"]["stats"]["AP"]
    run(*tracks("quirk_short_sequences"), "--official-quirks", "--json-file", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["stats"]["AP"] == pytest.approx(wanted, abs=1e-9)
    with pytest.raises(FewmaskError, match="give null where the object is absent"):
        run(*tracks("quirk_short_sequences"))
    run(*tracks("quirk_no_predictions"), "--json-file", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["stats"]["AP"] == 0.0


def test_drawings_and_tables(tmp_path: Path) -> None:
    printed = run(
        *tracks("basic"), "--per-category", "--identities", "0.2", "--plots", tmp_path / "plots", "--worst", 2
    )
    drawn = {path.name for path in (tmp_path / "plots").iterdir()}
    assert drawn == {"videos.svg", "precision_recall.svg", *(f"precision_recall_{i}.svg" for i in (1, 2, 3))}
    for path in (tmp_path / "plots").iterdir():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    for word in ("class1", "switches", "v1"):
        assert word in printed


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(FewmaskError, match=r"a\.json: is already there"):
        run(*tracks("basic"), "--json-file", tmp_path / "a.json")
    with pytest.raises(FewmaskError, match="is already there"):
        run(*tracks("basic"), "--plots", tmp_path)
    assert (tmp_path / "a.json").read_text() == "mine"


def label_maps(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for video in ("one", "two"):
        (folder / video).mkdir(parents=True)
        top, left = generator.integers(0, 10, 2)
        for frame in range(8):
            labels = np.zeros((30, 40), dtype=np.uint8)
            labels[top + frame : top + frame + 9, left : left + 9] = 1
            labels[22:28, left + frame : left + frame + 12] = 2
            Image.fromarray(labels).save(folder / video / f"{frame:05d}.png")
    return folder


@pytest.mark.parametrize("task", ["semi-supervised", "unsupervised"])
def test_davis(tmp_path: Path, task: str) -> None:
    gt = label_maps(tmp_path / "gt")
    arguments = ["davis", "--gt", gt, "--pred", gt, "--task", task, "--json-file", tmp_path / "a.json"]
    run(*arguments, "--plots", tmp_path / "plots")
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["stats"]["J&F-Mean"] == 1.0
    assert written["per_video"]["two"]["2"]["F"]["mean"] == 1.0
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"videos.svg", "frames_one.svg", "frames_two.svg"}


def test_vc(tmp_path: Path) -> None:
    gt = label_maps(tmp_path / "gt")
    printed = run("vc", "--gt", gt, "--pred", gt, "-n", 3, "--foreground", 2, "--json-file", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["stats"] == {"VC_vipmt": 1.0, "VC_tti": 1.0, "VC_vspw": 1.0}
    assert "VC_vspw" in printed


def test_fsvos(tmp_path: Path) -> None:
    gt, pred = FIXTURES / "basic_gt.json", FIXTURES / "basic_pred.json"
    arguments = ["fsvos", "--gt", gt, "--pred", pred, "--pred", pred, "--folds", "youtube-fsvos", "--per-category"]
    printed = run(*arguments, "--json-file", tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["per_run"]["0"] == written["per_run"]["1"] == written["stats"]
    assert {(row["run"], row["fold"]) for row in written["per_fold"]} == {(r, f) for r in (0, 1) for f in (1, 2, 3)}
    assert 0 < written["stats"]["J"] < 1
    assert "Folds" in printed


def test_coco(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[3:12, 4:15] = True
    annotation = {
        "id": 0, "image_id": 1, "category_id": 2, "segmentation": rle.encode(mask), "area": 99, "iscrowd": 0,
        "bbox": [4, 3, 11, 9],
    }  # fmt: skip
    gt = {
        "images": [{"id": 1, "width": 30, "height": 20, "file_name": "a.jpg"}],
        "annotations": [annotation],
        "categories": [{"id": 2, "name": "thing"}, {"id": 3, "name": "other"}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(gt))
    pred = [{"image_id": 1, "category_id": 3, "score": 0.5, "segmentation": rle.encode(mask)}]
    (tmp_path / "pred.json").write_text(json.dumps(pred))
    run("coco", "--gt", tmp_path / "gt.json", "--pred", tmp_path / "pred.json", "--json-file", tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text())["stats"]
    assert set(written) == {"AP", "AP50", "AP75", "AR1", "AR3", "AR5", "AP_small", "AP_medium", "AP_large"}
    assert [written[name] for name in ("AP", "AP50", "AP75", "AR1", "AR3", "AR5", "AP_small")] == pytest.approx(
        [1.0] * 7
    )
    arguments = ["coco", "--gt", tmp_path / "gt.json", "--pred", tmp_path / "pred.json", "--with-classes"]
    assert "0.0000" in run(*arguments)


def test_importing_the_command_and_the_metrics_is_cheap() -> None:
    code = (
        "import sys, fewmask.cli.eval, fewmask.metrics;"
        "assert not {'torch', 'transformers', 'cv2', 'pycocotools', 'rich.table'} & set(sys.modules);"
        "assert callable(fewmask.metrics.identity_switches) and callable(fewmask.metrics.track_iou);"
        "assert all(callable(getattr(fewmask.metrics, name)) for name in fewmask.metrics.__all__);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
