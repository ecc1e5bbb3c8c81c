"""`fewmask train minvis` as processes: two of them equal one, and a killed one goes on as if nothing had been."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from square_data import TINY

RECIPE = TINY.replace("log_every = 4", "log_every = 1").replace("ema = 0.9\n", "")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(squares, recipe, out, *more, processes=1):
    start = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "29531", "-m"]
    return [
        sys.executable, *(start if processes > 1 else ["-m"]), "fewmask", "train", "minvis", str(recipe),
        "--data", str(squares / "instances.json"), "--out", str(out), "--device", "cpu", *more,
    ]  # fmt: skip


def run(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr


def loss_curve(out):
    with (out / "log.csv").open() as handle:
        return [json.loads(row["losses"])["total"] for row in csv.DictReader(handle) if row["losses"] != "{}"]


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(squares, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    run(command(squares, tmp_path / "recipe.toml", tmp_path / "one"))
    run(command(squares, tmp_path / "recipe.toml", tmp_path / "two", processes=2))
    one, two = loss_curve(tmp_path / "one"), loss_curve(tmp_path / "two")
    assert len(one) == 12
    assert two == pytest.approx(one, rel=1e-3)  # a matching that rounding decides may differ
    assert two[:3] == pytest.approx(one[:3], rel=1e-5)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_weights_of_an_uninterrupted_run(squares, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("steps = 12", "steps = 40"))
    run(command(squares, tmp_path / "recipe.toml", tmp_path / "whole"))
    with subprocess.Popen(
        command(squares, tmp_path / "recipe.toml", tmp_path / "cut"), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=ONE_THREAD,
    ) as process:  # fmt: skip
        log = tmp_path / "cut" / "log.csv"
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 8):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    run(command(squares, tmp_path / "recipe.toml", tmp_path / "cut", "--resume"))
    whole, cut = (load_file(tmp_path / name / "weights" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert loss_curve(tmp_path / "cut") == loss_curve(tmp_path / "whole")
