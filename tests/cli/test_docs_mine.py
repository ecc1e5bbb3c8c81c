"""Every block of the guide to mining runs as it stands, on small videos and with a tiny network."""

import json
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_squares import write_video
from square_data import write_pictures

import fewmask.pipelines.refine as refine
from fewmask.cli import main as command
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.settings import MiningSettings
from fewmask.minvis import pretrained
from fewmask.minvis.architecture import Architecture, build
from fewmask.pipelines.mine import MINVIS_SCORE_THRESHOLD

PAGE = (Path(__file__).parents[2] / "docs" / "mine.md").read_text()
TINY = Architecture(
    backbone="timm:mobilenetv3_small_050", queries=6, width=32, encoder_layers=1, decoder_layers=1, feedforward=32
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Videos, labelled pictures, and a tiny network in place of the bundled one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    (tmp_path / "known").mkdir()
    write_video("videos/a.mp4", 4)
    write_pictures(tmp_path / "known")
    torch.manual_seed(0)
    pretrained.save_small(build(TINY), TINY, tmp_path / "small", categories=["object"], short_side=64)
    bundled = pretrained.folder_of
    monkeypatch.setattr(
        pretrained, "folder_of", lambda name: tmp_path / "small" if str(name) == "small" else bundled(name)
    )
    monkeypatch.setattr("fewmask.minvis.start.folder_of", pretrained.folder_of)
    steps = refine.RECIPE.train.model_copy(update={"steps": 1, "batch_size": 1})
    monkeypatch.setattr(
        refine, "RECIPE", refine.RECIPE.model_copy(update={"sizes": ((64, 64),), "points": 64, "train": steps})
    )
    # A random network's masks look like background; with a background network that sees objects only, some are kept.
    monkeypatch.setattr(BackgroundNet, "background", lambda _, rgb: np.full(rgb.shape[:2], 0.1, np.float32))
    return tmp_path


def run(line, monkeypatch):
    words = [
        word for part in shlex.split(line) for word in (sorted(map(str, Path().glob(part))) if "*" in part else [part])
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 0, line


@pytest.mark.slow
def test_the_guide_to_mining(place, monkeypatch):
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL):
        for line in block.strip().splitlines():
            if "--review review.json" in line and not Path("review.json").exists():
                entries = json.loads(Path("out/mined/instances.json").read_text())["annotations"]
                Path("review.json").write_text(
                    json.dumps({"accepted": [["a", entries[0]["track_id"]]], "rejected": []})
                )
            if "cvat/annotations.xml" in line:  # nothing was corrected
                shutil.copy("out/mined/cvat/a.xml", "out/mined/cvat/annotations.xml")
            run(line.replace("--workers 2", "--workers 1"), monkeypatch)
    assert (place / "out" / "mined" / "refined" / "round-1" / "weights" / "model.safetensors").is_file()
    assert (place / "out" / "retrained" / "refined" / "round-2" / "dataset" / "review.html").is_file()
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, {})


def test_the_settings_of_the_guide_are_the_defaults():
    given = tomllib.loads("\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)))
    assert given
    defaults = MiningSettings(score_threshold=MINVIS_SCORE_THRESHOLD)
    assert given == {name: getattr(defaults, name) for name in given}
