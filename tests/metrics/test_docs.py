"""Every code block of docs/metrics runs: shell blocks hold `fewmask eval` commands only, Python blocks stand alone."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fewmask.cli.eval import app
from fewmask.media import rle

DOCS = Path(__file__).parents[2] / "docs" / "metrics"
FIXTURES = Path(__file__).parent / "fixtures" / "ytvis_eval"
BLOCKS = [
    pytest.param(language, code, id=f"{page.stem}-{index}")
    for page in sorted(DOCS.glob("*.md"))
    for index, (language, code) in enumerate(re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the pages speak of, in the current folder."""
    for name, source in (("gt", "basic_gt"), ("pred", "basic_pred"), ("run2", "basic_pred")):
        shutil.copy(FIXTURES / f"{source}.json", tmp_path / f"{name}.json")
    for which in ("gt", "pred"):
        shutil.copy(FIXTURES / f"ovis_occlusion_{which}.json", tmp_path / f"ovis_{which}.json")
        for frame in range(5):
            labels = np.zeros((40, 60), dtype=np.uint8)
            labels[5 + frame : 20 + frame, 10:30] = 1
            labels[25:38, 35 : 50 + (which == "gt")] = 2
            path = tmp_path / f"davis_{which}" / "bear" / f"{frame:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(path)
    mask = rle.encode(labels == 1)
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": mask, "area": rle.area(mask), "iscrowd": 0}
    annotation["bbox"] = list(rle.bbox(mask))
    images = [{"id": 1, "width": 60, "height": 40, "file_name": "a.jpg"}]
    truth = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "coco_gt.json").write_text(json.dumps(truth))
    result = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": mask}
    (tmp_path / "coco_pred.json").write_text(json.dumps([result]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_block(language: str, code: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if language == "python":
        exec(compile(code, "block", "exec"), {})
        assert capsys.readouterr().out.strip()
        return
    assert language == "sh"
    for line in code.strip().splitlines():
        command, verb, *arguments = shlex.split(line)
        assert (command, verb) == ("fewmask", "eval")
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output


def test_there_are_pages() -> None:
    names = {page.stem for page in DOCS.glob("*.md")}
    linked = set(re.findall(r"\[([\w-]+)\.md\]", (DOCS / "README.md").read_text()))
    assert linked == names - {"README"}
    assert len(BLOCKS) >= 2 * len(linked)
