import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fewmask.cli.convert_data import convert_data
from fewmask.errors import DatasetError

app = typer.Typer()
app.command()(convert_data)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        folder = tmp_path / "in" / kind / "clip"
        folder.mkdir(parents=True)
        for frame in range(2):
            Image.fromarray(np.eye(8, 10, dtype=np.uint8) * 255).save(folder / f"{frame}.{suffix}")
    return tmp_path / "in"


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_says_what_it_wrote_and_where_the_frames_are(folders: Path) -> None:
    out = folders.parent / "out.json"
    text = run(folders, out)
    assert f"{out}: ytvis from folders, 1 video, 2 frames, 1 object" in text
    assert f"file names are relative to {folders / 'images'}" in text
    assert json.loads(out.read_text())["videos"][0]["length"] == 2


def test_json_for_machines(folders: Path) -> None:
    answer = json.loads(run(folders, folders.parent / "davis", "--to", "davis", "--category", "worm", "--json"))
    assert answer["target_format"] == "davis"
    assert answer["notes"] == ["the target has no classes: 1 class names were left out"]
    assert (folders.parent / "davis/Annotations/480p/clip/0.png").is_file()


def test_user_errors_are_dataset_errors(folders: Path) -> None:
    with pytest.raises(DatasetError, match="exists already"):
        run(folders, folders)
