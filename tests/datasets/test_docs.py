"""Every command and every Python block of docs/formats runs, in a folder that holds one small dataset of each kind."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from fuzz_readers import corpus
from typer.testing import CliRunner

from fewmask.cli.convert_data import convert_data

PAGES = sorted((Path(__file__).parents[2] / "docs/formats").glob("*.md"))
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)

app = typer.Typer()
app.command()(convert_data)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text())
    assert blocks or page.stem == "README"
    for language, text in blocks:
        if language == "python":
            exec(compile(text, str(page), "exec"), {})
            continue
        for line in text.splitlines():
            program, verb, *arguments = shlex.split(line)
            assert (program, verb) == ("fewmask", "convert-data")
            result = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert result.exit_code == 0, f"{line}: {result.output}"


def test_every_format_has_a_page() -> None:
    assert {page.stem for page in PAGES} == {
        "README", "coco", "cvat", "davis", "label-studio", "labelme", "mask-folders", "splits", "vspw", "youtube-vis",
    }  # fmt: skip
