import json

import pytest
import typer
from small_pool import COLOURS, MeanColours, moving_square, write_video
from typer.testing import CliRunner

from fewmask.cli.index import index
from fewmask.cli.retrieve import retrieve
from fewmask.errors import ConfigError, FewmaskError


@pytest.fixture
def run(monkeypatch):
    """Runs a verb with an embedder that needs no weights."""
    for maker in ("load_embedder", "embedder_of"):
        monkeypatch.setattr(f"fewmask.retrieval.embedders.{maker}", lambda *_, **__: MeanColours())
    monkeypatch.setattr("fewmask.retrieval.embedders.embedder_name", lambda *_, **__: "mean colours")
    app = typer.Typer()
    app.command()(index)
    app.command()(retrieve)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


@pytest.fixture
def videos(tmp_path):
    for seed, (name, colour) in enumerate(COLOURS.items()):
        write_video(tmp_path / f"{name}.mp4", moving_square(colour, 12, seed=seed))
    (tmp_path / "empty.mp4").touch()
    return sorted(tmp_path.glob("*.mp4"))


def test_index_then_retrieve_then_remove(run, videos, tmp_path):
    pool, sheet = tmp_path / "pool", tmp_path / "sheet.png"
    facts = json.loads(run("index", *videos, "--out", pool, "--json"))
    assert (facts["videos"], facts["clips"]) == (5, 4)
    assert [name.rsplit("/", 1)[1] for name in facts["problems"]] == ["empty.mp4"]
    found = json.loads(run("retrieve", tmp_path / "red.mp4", "--index", pool, "-k", 2, "--sheet", sheet, "--json"))
    assert len(found["clips"]) == 2
    assert not any(clip["video"].endswith("/red.mp4") for clip in found["clips"])
    assert sheet.stat().st_size > 1000
    with pytest.raises(ConfigError, match="exists"):
        run("retrieve", tmp_path / "red.mp4", "--index", pool, "--sheet", sheet)
    text = run("retrieve", tmp_path / "red.mp4", "--index", pool, "--sheet", sheet, "--overwrite")
    assert text.splitlines()[0].startswith("1  ")
    assert str(sheet) in text.splitlines()[-1]
    assert "3 clips of 4 videos" in run("index", tmp_path / "blue.mp4", "--out", pool, "--remove")
    (tmp_path / "green.mp4").unlink()
    assert "2 clips of 3 videos" in run("index", "--out", pool, "--prune")
    with pytest.raises(ConfigError, match="no video is given"):
        run("index", "--out", pool)
    with pytest.raises(FewmaskError, match="neither a video"):
        run("index", tmp_path / "never.mp4", "--out", pool, "--remove")
    assert "0 clips of 0 videos" in run("index", tmp_path, "--out", pool, "--remove")
