"""Many videos segmented: one result each whoever does them, workers that die, an object store, two Ray nodes."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from moving_squares import write_video

from fewmask.errors import ConfigError
from fewmask.minvis.dense.network import DenseNetwork, DenseShape
from fewmask.minvis.dense.weights import save_dense
from fewmask.pipelines.many.manifest import ListedVideo, read_manifest
from fewmask.pipelines.many.once import DONE, Crew
from fewmask.pipelines.many.segment import SegmentStep, segment_many
from fewmask.pipelines.segment_request import EveryObject, RunOptions


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Six short clips, a broken one, and weights of a random network."""
    folder = tmp_path_factory.mktemp("many")
    torch.manual_seed(0)
    save_dense(
        DenseNetwork(DenseShape(classes=2, width=8, pixel_width=8, identity=4)), folder / "weights", names=("a", "b"),
        short_side=64,
    )  # fmt: skip
    for number in range(6):
        write_video(folder / f"clip{number}.mp4", 3 + number)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "manifest.txt").write_text("# clips\n" + "".join(f"clip{n}.mp4\n" for n in range(6)) + "\nbroken.mp4\n")
    return folder


def step(given, **more):
    plan = RunOptions(source="", out=Path(), weights=str(given / "weights"), device="cpu", overlay=False, min_score=0.0)
    return SegmentStep(EveryObject(precision="fp32", **more), plan)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def plain(given, tmp_path_factory):
    """Results of one process."""
    out = tmp_path_factory.mktemp("plain")
    done = list(segment_many(read_manifest(given / "manifest.txt"), step(given), Crew(str(out))))
    return out, done


def test_every_video_has_one_result_that_its_marker_vouches_for(plain):
    out, done = plain
    assert [video.unit.name for video in done] == [*(f"clip{n}" for n in range(6)), "broken"]
    assert [video.facts.get("frames", 0) for video in done] == [3, 4, 5, 6, 7, 8, 0]
    assert "broken.mp4" in done[-1].problem
    assert not (out / "broken").exists()
    for number in range(6):
        marker = json.loads((out / f"clip{number}" / DONE).read_text())
        folder = out / f"clip{number}"
        there = {p.relative_to(out).as_posix() for p in folder.rglob("*.*")} - {f"clip{number}/{DONE}"}
        assert there == set(marker["sha256"])
        assert f"clip{number}/tracks.json" in there
        assert any("/masks/" in name for name in there)
        for name, digest in marker["sha256"].items():
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_what_is_done_is_left_alone_and_what_is_not_is_done(given, plain, tmp_path):
    out, _ = plain
    again = tmp_path / "again"
    shutil.copytree(out, again)
    (again / "clip2" / DONE).unlink()  # killed before the commit
    (again / "clip2" / "tracks.json").write_text("half")
    done = list(segment_many(read_manifest(given / "manifest.txt"), step(given), Crew(str(again))))
    assert [video.unit.name for video in done if video.worked_s and not video.problem] == ["clip2"]
    assert files(again) == files(out)


def test_results_of_other_settings_are_not_taken_for_these(given, plain):
    with pytest.raises(ConfigError, match=r"top_k.*use another --out"):
        list(segment_many(read_manifest(given / "manifest.txt"), step(given, top_k=3), Crew(str(plain[0]))))


@pytest.mark.slow
def test_killed_workers_are_replaced_and_the_bytes_are_those_of_one_process(given, plain, tmp_path):
    before = {child.pid for child in multiprocessing.active_children()}
    killed, names = 0, []
    for video in segment_many(read_manifest(given / "manifest.txt"), step(given), Crew(str(tmp_path), workers=2)):
        names.append(video.unit.name)
        children = [child for child in multiprocessing.active_children() if child.pid not in before]
        if killed < 2 and children:
            children[0].kill()
            killed += 1
    assert killed == 2
    assert names == [video.unit.name for video in plain[1]]
    assert files(tmp_path) == files(plain[0])


@pytest.mark.slow
def test_sources_and_results_in_an_object_store(given, plain, s3, tmp_path):
    jobs = read_manifest(given / "manifest.txt")
    for job in jobs:
        with s3.open_output_stream(f"videos/in/{Path(job.source).name}") as target:
            target.write(Path(job.source).read_bytes())
    remote = [replace(job, source=f"s3://videos/in/{Path(job.source).name}") for job in jobs]
    missing = ListedVideo("missing", "s3://videos/in/missing.mp4")
    done = list(segment_many([*remote, missing], step(given), Crew("s3://videos/out")))
    assert [video.facts.get("frames", 0) for video in done] == [3, 4, 5, 6, 7, 8, 0, 0]
    assert "missing.mp4" in done[-1].problem
    from pyarrow import fs

    found = s3.get_file_info(fs.FileSelector("videos/out", recursive=True))
    kept = {Path(entry.path).relative_to("videos/out") for entry in found if entry.is_file}
    wanted = files(plain[0])
    assert kept == set(wanted)
    for name in kept:
        with s3.open_input_stream(f"videos/out/{name}") as handle:
            data = handle.read()
        if name.name == DONE:
            assert json.loads(data)["sha256"] == json.loads(wanted[name])["sha256"]
        else:
            assert data == wanted[name]
    assert not any(video.worked_s for video in segment_many(remote[:6], step(given), Crew("s3://videos/out")))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")
def test_two_ray_nodes_of_which_one_dies_twice(given, plain, tmp_path):
    """In a process of its own: Ray leaves threads and warnings behind."""
    script = Path(__file__).with_name("two_ray_nodes.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(given), str(tmp_path)], check=False, capture_output=True,
        text=True, timeout=500, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["killed"] == 2
    assert files(tmp_path) == files(plain[0])


def test_no_secret_of_an_address_is_written(given, tmp_path, monkeypatch):
    monkeypatch.setattr("fewmask.pipelines.many.once.fetched", lambda _, folder: given / "clip0.mp4")
    address = "s3://someone:planted1@bucket/clip0.mp4?X-Amz-Signature=planted2"
    (done,) = segment_many([ListedVideo("clip0", address)], step(given), Crew(str(tmp_path)))
    assert done.facts["frames"] == 3
    marker = json.loads((tmp_path / "clip0" / DONE).read_text())
    assert "bucket/clip0.mp4" in marker["source"]
    for name, content in files(tmp_path).items():
        assert b"planted" not in content, name
