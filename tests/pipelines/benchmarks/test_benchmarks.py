"""Every benchmark on a miniature of its data: figures against brute force, a kill in the middle, wrong layouts."""

import json
import shutil
import sys

import miniatures
import numpy as np
import pytest
from PIL import Image

from fewmask.cli import main as command
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import ConfigError
from fewmask.media import rle
from fewmask.pipelines.benchmarks import bench as bench_module
from fewmask.pipelines.benchmarks.registry import BENCHMARKS
from fewmask.pipelines.benchmarks.request import BenchmarkRequest
from fewmask.pipelines.benchmarks.run import run_benchmark


class Killed(BaseException):
    """Stands for the process dying: nothing catches it."""


def table_of(summary, number=0):
    return {row.name: row.figures for row in summary.tables[number].rows}


def killed_and_resumed(request, monkeypatch, after=2):
    """Dies after the ``after``-th file of a result, then goes on; the files made before are not made again."""
    written = []

    def write(path, value, **options):
        if len(written) == after:
            raise Killed
        written.append(path)
        real(path, value, **options)

    real = bench_module.write_json
    with monkeypatch.context() as patch:
        patch.setattr(bench_module, "write_json", write)
        with pytest.raises(Killed):
            run_benchmark(request)
    times = {path: path.stat().st_mtime_ns for path in written}
    done = run_benchmark(BenchmarkRequest(**{**vars(request), "resume": True}))
    assert {path: path.stat().st_mtime_ns for path in written} == times
    assert len(times) == after
    return done


def j_and_f(pred, gt):
    """Brute force: J, and F with distances to the outlines, of one frame."""
    from scipy.ndimage import distance_transform_edt

    union = (pred | gt).sum()
    j = 1.0 if union == 0 else (pred & gt).sum() / union

    def outline(mask):
        edge = np.zeros_like(mask)
        edge[:-1] |= mask[:-1] ^ mask[1:]
        edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
        edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
        return edge

    a, b = outline(pred), outline(gt)
    if not a.any() or not b.any():
        return j, float(a.any() == b.any())
    radius = np.ceil(0.008 * np.hypot(*gt.shape))
    precision = (distance_transform_edt(~b)[a] <= radius).mean()
    recall = (distance_transform_edt(~a)[b] <= radius).mean()
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_davis_2016_best_track(tmp_path):
    root = miniatures.davis(tmp_path / "davis", 2016)
    done = run_benchmark(BenchmarkRequest("davis16-unsupervised", root, tmp_path / "out", device="cpu"))
    j, f = [], []
    for name in ("bear", "dog", "swan"):
        frames = []
        for t in range(5):
            pred = np.asarray(Image.open(tmp_path / f"out/tracks/best track/{name}/{t:05d}.png")) > 0
            gt = np.asarray(Image.open(root / f"Annotations/480p/{name}/{t:05d}.png")) > 0
            frames.append(j_and_f(pred, gt))
        j.append(np.mean([a for a, _ in frames]))
        f.append(np.mean([b for _, b in frames]))
    found = table_of(done)["best track"]
    assert found["J-Mean"] == pytest.approx(100 * np.mean(j))
    assert found["F-Mean"] == pytest.approx(100 * np.mean(f))
    assert json.loads(done.figures.read_text())["benchmark"] == "davis16-unsupervised"


def test_davis_2017_from_the_command_line(tmp_path, monkeypatch, capsys):
    root = miniatures.davis(tmp_path / "davis", 2017)
    words = ["benchmark", "davis17-unsupervised", "--data", str(root), "--out", str(tmp_path / "out"), "--limit", "1"]
    monkeypatch.setattr(sys, "argv", ["fewmask", *words, "--device", "cpu"])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 0
    assert "| UnOVOST+ | – [59.9] |" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        command.main()  # without --resume
    assert stop.value.code == 2
    assert "add --resume" in capsys.readouterr().err


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "minvis.toml"
    path.write_text(miniatures.MINVIS_RECIPE)
    return path


def average_precision(dataset, records, iou):
    """Brute force: mean over classes of 101-point interpolated AP at one track IoU."""
    found = []
    for category in sorted({a.category_id for a in dataset.annotations}):
        truths = [a for a in dataset.annotations if a.category_id == category]
        mine = sorted((r for r in records if r["category_id"] == category), key=lambda r: -r["score"])
        used, hits = set(), []
        for record in mine:
            best, held = iou, None
            for truth in truths:
                if truth.video_id != record["video_id"] or truth.id in used:
                    continue
                pairs = list(zip(record["segmentations"], truth.segmentations, strict=True))
                masks = [[np.zeros(miniatures.SIZE, bool) if m is None else rle.decode(m) for m in p] for p in pairs]
                union = sum((a | b).sum() for a, b in masks)
                overlap = sum((a & b).sum() for a, b in masks) / union if union else 0.0
                if overlap >= best:
                    best, held = overlap, truth.id
            used |= {held} - {None}
            hits.append(held is not None)
        ranks = np.arange(1, len(hits) + 1)
        recall, precision = np.cumsum(hits) / len(truths), np.cumsum(hits) / ranks
        points = [max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)]
        found.append(np.mean(points))
    return float(np.mean(found))


def test_minvis_on_ytvis_2019(tmp_path, recipe, monkeypatch):
    root = miniatures.ytvis(tmp_path / "data")
    request = BenchmarkRequest("minvis-ytvis19", root, tmp_path / "out", recipe=recipe, repeats=1, device="cpu")
    done = killed_and_resumed(request, monkeypatch)
    assert [table.title for table in done.tables] == [
        "Share of labelled frames", "Post-processing", "Supervised matching",
    ]  # fmt: skip
    assert list(table_of(done)) == ["1 %", "5 %", "10 %", "100 %"]
    assert table_of(done, 1)["query"] == table_of(done)["100 %"] == table_of(done, 2)["none"]
    records = json.loads((tmp_path / "out/frames-1/seed-0/valid/results_query.json").read_text())
    dataset = read_ytvis(root / "valid.json")
    ours = table_of(done)["100 %"]
    assert ours["AP50"] == pytest.approx(100 * average_precision(dataset, records, 0.5))
    assert ours["AP75"] == pytest.approx(100 * average_precision(dataset, records, 0.75))
    clips = json.loads((tmp_path / "out/frames-1/seed-0/valid-clip/results_clip.json").read_text())
    assert list(table_of(done, 1)) == ["heuristics", "both", "query", "clip"]
    assert table_of(done, 1)["clip"]["AP50"] == pytest.approx(100 * average_precision(dataset, clips, 0.5))
    page = done.page.read_text()
    assert "[61.6]" in page
    other = BenchmarkRequest(**{**vars(request), "resume": True, "limit": 1})
    with pytest.raises(ConfigError, match="the setting limit was 0 and is 1"):
        run_benchmark(other)


@pytest.mark.parametrize("name", ["minvis-ytvis21", "minvis-ovis"])
def test_minvis_without_published_validation_masks(tmp_path, recipe, name):
    root = (
        miniatures.ovis(tmp_path / "d")
        if name == "minvis-ovis"
        else miniatures.ytvis(tmp_path / "d", 2021, labelled=False)
    )
    request = BenchmarkRequest(name, root, tmp_path / "out", ("supervised",), recipe=recipe, repeats=2, device="cpu")
    done = run_benchmark(request)
    assert "held out" in done.tables[0].note
    assert list(table_of(done)) == ["none", "supervised matching", "limited range"]
    folder = tmp_path / "out/range-20/seed-1"
    server = json.loads((folder / "valid/results_query.json").read_text())
    assert {record["video_id"] for record in server} == {
        v.id for v in read_ytvis(root / BENCHMARKS[name].parts[2].places[0], unlabelled=True).videos
    }
    held = json.loads((folder / "held-out/results_query.json").read_text())
    assert {record["video_id"] for record in held} == {1}
    trained = json.loads((folder / "training/stage.json").read_text())["given"]
    assert (trained["matching_range"], trained["seed"]) == (20, 1)


@pytest.mark.parametrize(
    ("name", "make", "lost"),
    [
        ("minvis-ytvis19", miniatures.ytvis, "valid.json"),
        ("minvis-ytvis21", lambda root: miniatures.ytvis(root, 2021), "train/JPEGImages/0000000003/00002.jpg"),
        ("minvis-ovis", miniatures.ovis, "train/0000000002/img_0000001.jpg"),
        ("fsvos", miniatures.fsvos, "train/JPEGImages"),
        ("mini-vspw", miniatures.vspw, "data/49_val_0/mask/00000002.png"),
        ("self-vis", miniatures.self_vis, "train.json"),
        ("self-ovis", miniatures.self_ovis, "annotations_train.json"),
        ("unseen-vis", miniatures.unseen_vis, "train/JPEGImages/000000000a/00001.jpg"),
        ("davis16-unsupervised", lambda root: miniatures.davis(root, 2016), "Annotations/480p/dog/00003.png"),
        ("davis17-unsupervised", lambda root: miniatures.davis(root, 2017), "ImageSets/2017/val.txt"),
    ],
)  # fmt: skip
def test_a_missing_file_is_named_in_one_line(tmp_path, name, make, lost, monkeypatch, capsys):
    root = make(tmp_path / "data")
    gone = root / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    recipe = tmp_path / "any.toml"
    recipe.touch()
    words = ["benchmark", name, "--data", str(root), "--out", str(tmp_path / "out"), "--recipe", str(recipe)]
    monkeypatch.setattr(sys, "argv", ["fewmask", *words])
    with pytest.raises(SystemExit) as stop:
        command.main()
    said = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert len(said) == 1
    assert said[0].startswith(f"fewmask: {gone}: missing")
    assert not (tmp_path / "out").exists()


def test_the_list_and_what_cannot_be(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fewmask", "benchmark", "--list", "--json"])
    with pytest.raises(SystemExit):
        command.main()
    assert set(json.loads(capsys.readouterr().out)) == set(BENCHMARKS)
    for words, told in (
        ([], "takes NAME"), (["nosuch"], "nosuch"), (["fsvos", "--table", "III"], "III"),
        (["fsvos"], "vipmt/paper.toml"),
    ):  # fmt: skip
        monkeypatch.setattr(
            sys, "argv", ["fewmask", "benchmark", *words] + (["--data", "x", "--out", "y"] if words else [])
        )
        with pytest.raises(SystemExit) as stop:
            command.main()
        assert stop.value.code == 2
        assert told in capsys.readouterr().err
