"""Self-VIS, Self-OVIS and Unseen-VIS miniatures: split, pairs, tracks, figures against brute force."""

import json
from pathlib import Path

import miniatures
import pytest
from test_benchmarks import average_precision, killed_and_resumed, table_of
from typer.testing import CliRunner

from fewmask.cli.main import app
from fewmask.datasets.self_shot_split import read_pairs
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import YtvisDataset, annotation_from_masks
from fewmask.errors import ConfigError
from fewmask.pipelines.benchmarks.request import BenchmarkRequest
from fewmask.pipelines.benchmarks.run import run_benchmark


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(miniatures.selfshot_weights(tmp_path_factory.mktemp("selfshot") / "weights"))


def brute_force(out, split, kind, shots, chosen=None):
    """Pooled AP50 over episodes: every episode one video of one class."""
    test, pairs = read_ytvis(split / "test.json"), read_pairs(split / "test_pairs.json")
    folders = {Path(video.file_names[0]).parent.name: video.id for video in test.videos}
    truths, records = [], []
    for number, pair in enumerate(pairs):
        video = folders[Path(pair.query).name]
        if chosen is not None and video not in chosen:
            continue
        for track in test.annotations:
            if (track.video_id, track.category_id) == (video, pair.class_id):
                truths.append(
                    annotation_from_masks(
                        id=len(truths) + 1, video_id=number, category_id=1, segmentations=track.segmentations
                    )
                )
        path = out / f"tracks/{kind}-{shots}/episodes/{number:06d}.json"
        records += [
            {"video_id": number, "category_id": 1, "score": score, "segmentations": masks}
            for score, masks in json.loads(path.read_text())
        ]
    return 100 * average_precision(YtvisDataset((), (), tuple(truths)), records, 0.5)


def common_brute_force(out, split, shots, classes):
    """Pooled AP50 over queries that ask for so many classes: every object of any of them, as one class."""
    test, pairs = read_ytvis(split / "test.json"), read_pairs(split / "test_pairs.json")
    folders = {Path(video.file_names[0]).parent.name: video.id for video in test.videos}
    asked = {}
    for pair in pairs:
        asked.setdefault(folders[Path(pair.query).name], []).append(pair.class_id)
    truths, records = [], []
    for number, (video, wanted) in enumerate(asked.items()):
        if len(wanted) != classes:
            continue
        for track in test.annotations:
            if track.video_id == video and track.category_id in wanted:
                truths.append(
                    annotation_from_masks(
                        id=len(truths) + 1, video_id=number, category_id=1, segmentations=track.segmentations
                    )
                )
        path = out / f"tracks/common-{shots}/episodes/{number:06d}.json"
        records += [
            {"video_id": number, "category_id": 1, "score": score, "segmentations": masks}
            for score, masks in json.loads(path.read_text())
        ]
    return 100 * average_precision(YtvisDataset((), (), tuple(truths)), records, 0.5)


def test_self_vis_killed_and_resumed(tmp_path, weights, monkeypatch):
    root = miniatures.self_vis(tmp_path / "data")
    request = BenchmarkRequest("self-vis", root, tmp_path / "out", (), weights, device="cpu")
    done = killed_and_resumed(request, monkeypatch, after=3)
    split = tmp_path / "out/split/files"
    for shots, column in ((1, "1"), (5, "5"), (8, "5+3")):
        assert table_of(done)["oracle"][column] == pytest.approx(brute_force(tmp_path / "out", split, "oracle", shots))
    test = read_ytvis(split / "test.json")
    counts = {video.id: sum(a.video_id == video.id for a in test.annotations) for video in test.videos}
    for number in sorted(set(counts.values())):
        chosen = {video for video, count in counts.items() if count == number}
        expected = brute_force(tmp_path / "out", split, "oracle", 1, chosen)
        assert table_of(done, 2)[str(number)]["1-shot"] == pytest.approx(expected)
    for kind in ("temporal", "spatial"):
        expected = brute_force(tmp_path / "out", split, kind, 5)
        assert table_of(done, 1)[f"{kind} segments"]["5-shot"] == pytest.approx(expected)
    assert table_of(done, 1)["oracle supports"]["1-shot"] == table_of(done)["oracle"]["1"]
    assert table_of(done, 2)["5 or more"] == {"1-shot": None, "5-shot": None}
    supports = json.loads((tmp_path / "out/supports/oracle-5/stage.json").read_text())["outcome"]["places"]
    first, pair = supports[0], read_pairs(split / "test_pairs.json")[0]
    assert [Path(place.split("#")[0]).name for place in first] == [Path(name).name for name in pair.supports[:5]]


def test_self_ovis_by_classes_from_split_files(tmp_path, weights):
    root = miniatures.self_ovis(tmp_path / "data")
    words = ["convert-data", str(root / "annotations_train.json"), str(tmp_path / "split"), "--split", "self-ovis"]
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "test_pairs.json: " in said.stdout
    request = BenchmarkRequest(
        "self-ovis", root, tmp_path / "out", (), weights, split=tmp_path / "split", limit=0, device="cpu"
    )
    done = run_benchmark(request)
    assert [table.title for table in done.tables] == [
        "AP50 by shots", "Supported by its own segments", "By number of instances", "By number of classes",
        "Several common classes in an episode",
    ]  # fmt: skip
    expected = brute_force(tmp_path / "out", tmp_path / "split", "oracle", 1)
    assert table_of(done)["oracle"]["1"] == pytest.approx(expected)
    test = read_ytvis(tmp_path / "split/test.json")
    two = {v.id for v in test.videos if len({a.category_id for a in test.annotations if a.video_id == v.id}) == 2}
    assert two
    expected = brute_force(tmp_path / "out", tmp_path / "split", "oracle", 1, two)
    assert table_of(done, 3)["2"]["1-shot"] == pytest.approx(expected)
    expected = common_brute_force(tmp_path / "out", tmp_path / "split", 5, 2)
    assert table_of(done, 4)["2"]["5-shot"] == pytest.approx(expected)
    assert table_of(done, 4)["4 or more"] == {"1-shot": None, "5-shot": None}


def test_the_transplanted_baselines_are_trained_and_stand_beside_the_network(tmp_path, weights):
    root = miniatures.self_vis(tmp_path / "data")
    network = json.loads((Path(weights) / "transformer.json").read_text())
    settings = {"shots": 1, "backbone_rate": 0.0, "network": network, "train": {"steps": 1, "batch_size": 1}}
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomli_w(settings))
    words = {"tables": ("transplanted",), "weights": weights, "device": "cpu"}
    done = run_benchmark(BenchmarkRequest("self-vis", root, tmp_path / "out", recipe=recipe, **words))
    rows = table_of(done)
    assert list(rows) == ["SMRCNN", "FST", "this paper"]
    split = tmp_path / "out/split/files"
    for kind, row in (("smrcnn", "SMRCNN"), ("fst", "FST"), ("oracle", "this paper")):
        for shots in (1, 5):
            expected = brute_force(tmp_path / "out", split, kind, shots)
            assert rows[row][f"{shots}-shot"] == pytest.approx(expected), (kind, shots)
    assert (tmp_path / "out/training-smrcnn/weights/siamese.json").exists()
    trained = json.loads((tmp_path / "out/training-fst/weights/transformer.json").read_text())
    assert (trained["structure"], trained["fuser_layers"]) == ("few_shot", 0)
    assert {row.name: row.paper for row in done.tables[0].rows}["FST"] == {"1-shot": 48.5, "5-shot": 51.7}
    with pytest.raises(ConfigError, match="--recipe"):
        run_benchmark(BenchmarkRequest("self-vis", root, tmp_path / "again", **words))


def tomli_w(table, name=""):
    """A table of plain values and tables as TOML."""
    plain = [f"{k} = {json.dumps(v)}" for k, v in table.items() if not isinstance(v, dict)]
    nested = [tomli_w(v, f"{name}{k}.") for k, v in table.items() if isinstance(v, dict)]
    return "\n".join([*([f"[{name[:-1]}]"] if name else []), *plain, *nested]) + "\n"


def test_unseen_vis_mines_refines_and_measures(tmp_path):
    root = miniatures.unseen_vis(tmp_path / "data")
    request = BenchmarkRequest("unseen-vis", root, tmp_path / "out", steps=1, device="cpu")
    done = run_benchmark(request)
    rows = table_of(done)
    assert list(rows) == ["before", "fine-tuned on mined masks", "fine-tuned on true masks"]
    test = read_ytvis(tmp_path / "out/split/files/test.json")
    assert len(test.videos) == 2
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "out/figures/before/pictures").iterdir())]
    truths, records = [], []
    pictures = [(track.video_id, t) for track in test.annotations for t in range(3)]
    places = sorted(set(pictures))
    for track in test.annotations:
        for t, mask in enumerate(track.segmentations):
            if mask is not None:
                truths.append(
                    annotation_from_masks(
                        id=len(truths) + 1, video_id=places.index((track.video_id, t)), category_id=1,
                        segmentations=[mask],
                    )
                )  # fmt: skip
    for number, masks in enumerate(found):
        best = sorted(masks, key=lambda pair: -pair[0])
        records += [{"video_id": number, "category_id": 1, "score": s, "segmentations": [m]} for s, m in best]
    ours = 100 * average_precision(YtvisDataset((), (), tuple(truths)), records, 0.5)
    assert rows["before"]["AP50"] == pytest.approx(ours, abs=0.1)
