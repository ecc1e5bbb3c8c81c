"""YouTube-FSVOS and MiniVSPW miniatures: lists, network, results at its size, figures against brute force."""

import json

import miniatures
import numpy as np
import pytest
from test_benchmarks import j_and_f, killed_and_resumed, table_of
from typer.testing import CliRunner

from fewmask.cli.eval import app as evaluate
from fewmask.datasets.split_files import write_split
from fewmask.errors import ConfigError
from fewmask.media import rle
from fewmask.pipelines.benchmarks.request import BenchmarkRequest
from fewmask.pipelines.benchmarks.run import run_benchmark


@pytest.fixture(scope="module")
def fsvos(tmp_path_factory):
    return miniatures.fsvos(tmp_path_factory.mktemp("fsvos"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return miniatures.vipmt_weights(tmp_path_factory.mktemp("vipmt") / "weights")


def decoded(masks, size):
    return np.stack([np.zeros(size, bool) if mask is None else rle.decode(mask) for mask in masks])


def brute_force(out, protocol, runs, *, every_frame, window=7):
    """(fold, run) -> J, F, VC7: frames of a class, classes of a fold; VC over windows, videos, classes."""
    found = {}
    for fold in (1, 2, 3, 4):
        folder = out / f"fold-{fold}/{protocol}"
        truth = json.loads((folder / "truth.json").read_text())
        size = truth["videos"][0]["height"], truth["videos"][0]["width"]
        of = {(a["video_id"], a["category_id"]): decoded(a["segmentations"], size) for a in truth["annotations"]}
        for run in range(runs):
            classes = {}
            for record in json.loads((folder / f"run-{run}.json").read_text()):
                pred = decoded(record["segmentations"], size)
                gt = of[record["video_id"], record["category_id"]]
                seen = np.ones(len(gt), bool) if every_frame else gt.any((1, 2))
                pred, gt = pred[seen], gt[seen]
                frames, windows = classes.setdefault(record["category_id"], ([], []))
                frames += [(*j_and_f(p, g), (p & g).sum(), (p | g).sum()) for p, g in zip(pred, gt, strict=True)]
                vc = []
                for start in range(len(gt) - window + 1):
                    a, b = gt[start : start + window].all(0), pred[start : start + window].all(0)
                    vc.append((a & b).sum() / (a.sum() + 1e-10))
                windows += [np.mean(vc)] if vc else []
            means = [np.mean([frame[:2] for frame in frames], 0) for frames, _ in classes.values()]
            vcs = [np.mean(windows) for _, windows in classes.values() if windows]
            pooled = [sum(f[2] for f in frames) / sum(f[3] for f in frames) for frames, _ in classes.values()]
            found[fold, run] = (*np.mean(means, 0), np.mean(vcs) if vcs else None, np.mean(pooled), len(classes))
    return found


def test_protocol_two_killed_and_resumed(fsvos, weights, tmp_path, monkeypatch):
    request = BenchmarkRequest(
        "fsvos", fsvos, tmp_path / "out", ("II",), str(weights), limit=1, repeats=2, device="cpu"
    )
    done = killed_and_resumed(request, monkeypatch, after=3)
    expected = brute_force(tmp_path / "out", "II", 2, every_frame=False)
    assert all(values[4] == 10 for values in expected.values())
    table = table_of(done)
    for fold in (1, 2, 3, 4):
        for place, name in enumerate(("J", "F", "VC7")):
            mean = np.mean([expected[fold, run][place] for run in (0, 1)])
            assert table[f"fold {fold}"][name] == pytest.approx(100 * mean)
    assert table["mean"]["J"] == pytest.approx(100 * np.mean([values[0] for values in expected.values()]))
    assert 0 < table["mean"]["J"] < 100
    assert "[64.2]" in done.page.read_text()
    folder = tmp_path / "out/fold-2/II"
    words = ["fsvos", "--gt", folder / "truth.json", "--pred", folder / "run-0.json", "--pred", folder / "run-1.json",
             "--only-predicted", "--json"]  # fmt: skip
    said = CliRunner().invoke(evaluate, [str(word) for word in words], catch_exceptions=False)
    assert 100 * json.loads(said.stdout)["stats"]["J"] == pytest.approx(table["fold 2"]["J"])


def test_tti_counts_a_query_as_often_as_it_is_drawn(fsvos, weights, tmp_path):
    """Six videos a class leave one query a run after five supports; of lists that draw one twice both count."""
    files = tmp_path / "split"
    write_split("fsvos", fsvos / "train.json", files)
    for fold in (1, 2, 3, 4):
        path = files / f"fold_{fold}_II-tti.json"
        document = json.loads(path.read_text())
        own = [episode for episode in document["episodes"] if episode["run"] == 0]
        again = [{**episode, "supports": episode["supports"][::-1][:2]} for episode in own[:1]]
        path.write_text(json.dumps({**document, "episodes": own + again}))
    request = BenchmarkRequest(
        "fsvos", fsvos, tmp_path / "out", ("II-tti",), str(weights), split=files, repeats=1, device="cpu"
    )
    done = run_benchmark(request)
    expected = brute_force(tmp_path / "out", "II-tti", 1, every_frame=False)
    for fold in (1, 2, 3, 4):
        records = json.loads((tmp_path / f"out/fold-{fold}/II-tti/run-0.json").read_text())
        assert len(records) == 11
        assert len({record["video_id"] for record in records}) == 11
        assert table_of(done)[f"fold {fold}"]["J"] == pytest.approx(100 * expected[fold, 0][3])


def test_split_files_give_what_is_drawn_without_them(fsvos, weights, tmp_path):
    files = tmp_path / "split"
    held = write_split("fsvos", fsvos / "train.json", files, runs=1)
    assert held["fold_1_II.json"] == "60 episodes of 1 runs"
    request = BenchmarkRequest("fsvos", fsvos, tmp_path / "a", ("I",), str(weights), limit=1, repeats=1, device="cpu")
    drawn = run_benchmark(request)
    read = run_benchmark(BenchmarkRequest(**{**vars(request), "out": tmp_path / "b", "split": files}))
    assert table_of(drawn) == table_of(read)


@pytest.fixture(scope="module")
def vspw(tmp_path_factory):
    return miniatures.vspw(tmp_path_factory.mktemp("vspw"))


def test_mini_vspw_trains_a_network_per_fold(vspw, weights, tmp_path):
    request = BenchmarkRequest(
        "mini-vspw", vspw, tmp_path / "out", (), None, weights.parent / "vipmt.toml", str(weights), limit=1, repeats=1,
        device="cpu",
    )  # fmt: skip
    done = run_benchmark(request)
    expected = brute_force(tmp_path / "out", "II", 1, every_frame=True)
    for fold in (1, 2, 3, 4):
        assert table_of(done)[f"fold {fold}"]["J"] == pytest.approx(100 * expected[fold, 0][0])
        assert table_of(done)[f"fold {fold}"]["F"] == pytest.approx(100 * expected[fold, 0][1])
        assert expected[fold, 0][4] == 5
    listed = json.loads((tmp_path / "out/fold-1/data/train.json").read_text())
    assert {a["category_id"] for a in listed["annotations"]} >= {41}  # the billboard in place of the truck
    assert 51 not in {a["category_id"] for a in listed["annotations"]}
    assert (tmp_path / "out/fold-4/training/weights").is_dir()


def test_training_needs_something_to_start_from(fsvos, weights, tmp_path):
    request = BenchmarkRequest("fsvos", fsvos, tmp_path / "out", recipe=weights.parent / "vipmt.toml", device="cpu")
    with pytest.raises(ConfigError, match="--initial"):
        run_benchmark(request)


def test_ablations_switch_parts_of_given_weights(fsvos, weights, tmp_path):
    request = BenchmarkRequest(
        "fsvos", fsvos, tmp_path / "out", ("directions",), str(weights), limit=1, repeats=1, device="cpu"
    )
    done = run_benchmark(request)
    assert [table.title for table in done.tables] == ["Directions"]
    assert set(table_of(done)["clip to frame"]) == {"J", "F", "VC7"}
    assert table_of(done)["clip to frame"] != table_of(done)["bidirectional"]
    assert "[61.4]" in done.page.read_text()


@pytest.mark.slow
def test_a_row_of_an_ablation_is_a_training(fsvos, weights, tmp_path):
    recipe = weights.parent / "vipmt.toml"
    request = BenchmarkRequest(
        "fsvos", fsvos, tmp_path / "out", ("directions",), recipe=recipe, start_from=str(weights), limit=1, repeats=1,
        device="cpu",
    )  # fmt: skip
    assert list(table_of(run_benchmark(request))) == ["clip to frame", "bidirectional"]
    one_way = tmp_path / "out/fold-3/training_bidirectional-false_ccds-off_memory_length-0"
    config = json.loads((one_way / "weights/config.json").read_text())
    assert (config["bidirectional"], config["memory_length"]) == (False, 0)
    both = json.loads((tmp_path / "out/fold-3/training_ccds-off_memory_length-0/weights/config.json").read_text())
    assert both["bidirectional"]


def test_a_part_that_was_never_trained_is_told(weights):
    from dataclasses import replace

    from fewmask.pipelines.benchmarks.fewshot_variants import Variant
    from fewmask.vipmt.model import VIPMT
    from fewmask.vipmt.network import VIPMTNetwork

    whole = VIPMT.from_pretrained(weights, device="cpu").network
    without = VIPMTNetwork(replace(whole.config, frame_prototypes=False))
    with pytest.raises(ConfigError, match="trained without"):
        Variant("+F", {"frame_prototypes": True}).tested_network(without)


def test_every_row_of_an_ablation_has_the_papers_figures():
    from fewmask.pipelines.benchmarks.fewshot_variants import TABLES
    from fewmask.pipelines.benchmarks.paper import FSVOS_ABLATIONS

    assert {name: [v.row for v in rows] for name, rows in TABLES.items()} == {
        name: list(rows) for name, rows in FSVOS_ABLATIONS.items()
    }


def test_clips_of_one_frame_see_as_many_frames(weights):
    from fewmask.pipelines.benchmarks.fewshot_variants import TABLES
    from fewmask.pipelines.recipes import read_recipe
    from fewmask.vipmt.recipe import VIPMTRecipe

    recipe = read_recipe(weights.parent / "vipmt.toml", VIPMTRecipe)
    changed = TABLES["components"][0].changed(recipe)
    assert changed.clip_length * changed.clips == recipe.clip_length * recipe.clips
    assert (changed.network.clip_length, changed.clip_length, changed.ccds) == (1, 1, "off")
