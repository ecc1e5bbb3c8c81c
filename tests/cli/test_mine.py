"""`fewmask mine` as users meet it, with a tiny random segmenter and the bundled background network."""

import json
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from fewmask.cli.mine import mine
from fewmask.datasets.coco import read_coco
from fewmask.errors import ConfigError
from fewmask.minvis.architecture import Architecture, build
from fewmask.minvis.pretrained import save_small
from fewmask.pipelines.mine import MINVIS_SCORE_THRESHOLD

sys.path.insert(0, str(Path(__file__).parent.parent / "mining"))
from mining_red_square import write_video

app = typer.Typer()
app.command()(mine)
TINY = Architecture(backbone="timm:mobilenetv3_small_050", queries=6, width=32, encoder_layers=1, decoder_layers=1,
                    feedforward=32)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    torch.manual_seed(0)
    save_small(build(TINY), TINY, folder, categories=["object"], short_side=64)
    return folder


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_it_mines_says_where_and_takes_a_review(weights, tmp_path):
    video, out = write_video(tmp_path / "clip", 4), tmp_path / "out"
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = [video, tmp_path / "bad.mp4", "--out", out, "--weights", weights, "--keep-every", 2, "--workers", 1]
    result = run(*words)
    assert result.exit_code == 0
    assert str(out / "review.html") in result.stdout
    assert "1 skipped" in result.stdout
    assert "bad.mp4" in result.stderr
    assert read_coco(out / "instances.json").categories == {1: "object"}
    with pytest.raises(ConfigError, match="resume"):
        run(*words)
    again = json.loads(run(*words, "--resume", "--json").stdout)
    assert [video["frames"] for video in again["videos"]] == [4, 0]

    (tmp_path / "review.json").write_text(json.dumps({"accepted": [], "rejected": []}))
    reviewed = run("--out", out, "--review", tmp_path / "review.json")
    assert str(out / "instances.reviewed.json") in reviewed.stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], ConfigError),
        (["v.mp4", "--proposals", "magic"], ConfigError),
        (["v.mp4", "--proposals", "maskrcnn"], ConfigError),
        (["v.mp4", "--flow", "magic"], ConfigError),
        (["v.mp4", "--settings", "none.toml"], ConfigError),
        (["v.mp4", "--refine", "magic"], ConfigError),
        (["v.mp4", "--refine", "retrain"], ConfigError),
        (["v.mp4", "--refine", "finetune", "--labelled", "none.json"], ConfigError),
        (["v.mp4", "--refine", "finetune", "--refine-recipe", "none.toml"], ConfigError),
        (["v.mp4", "--background", "none.safetensors", "--weights", "WEIGHTS"], ConfigError),
    ],
)
def test_mistakes_are_named(words, error, weights, tmp_path):
    video = write_video(tmp_path / "clip", 2)
    words = [{"WEIGHTS": weights, "v.mp4": video}.get(word, word) for word in words]
    with pytest.raises(error):
        run(*words, "--out", tmp_path / "out", "--workers", 1)


def test_minvis_proposals_bring_their_own_score_threshold_and_a_setting_overrules_it(weights, tmp_path):
    video = write_video(tmp_path / "clip", 2)
    (tmp_path / "settings.toml").write_text("score_threshold = 0.25\n")
    for name, words, expected in (
        ("usual", (), MINVIS_SCORE_THRESHOLD),
        ("told", ("--settings", tmp_path / "settings.toml"), 0.25),
    ):
        out = tmp_path / name
        run(video, "--out", out, "--weights", weights, "--workers", 1, "--device", "cpu", *words)
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["settings"]["score_threshold"] == expected


def test_settings_file(weights, tmp_path):
    (tmp_path / "settings.toml").write_text("candidates = 0\n")
    with pytest.raises(ConfigError, match="candidates"):
        run(
            write_video(tmp_path / "clip", 2), "--out", tmp_path / "out", "--settings", tmp_path / "settings.toml"
        )  # fmt: skip
