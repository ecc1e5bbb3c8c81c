"""The loop on a small regression: resuming, averaging, schedules, processes, refusals."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from line_task import CPU, Line, settings
from pydantic import ValidationError
from torch import nn

from fewmask.errors import CheckpointError, ConfigError
from fewmask.training.loop import train
from fewmask.training.settings import rate_factor


def weights(folder):
    return torch.load(folder / "weights" / "weights.pt", weights_only=True)


def test_learns_and_leaves_what_it_says(tmp_path):
    lines = []
    figures = train(Line(), settings(steps=150), tmp_path, device=CPU, report=lines.append)
    assert figures["error"] < 0.1
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    with (tmp_path / "log.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["step"]) for row in rows] == list(range(10, 151, 10))
    assert [line.step for line in lines] == list(range(10, 151, 10))
    assert lines[-1].losses["total"] < lines[0].losses["total"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_killed_run_resumes_bit_equal(tmp_path, accumulate):
    straight = settings(accumulate=accumulate)
    train(Line(), straight, tmp_path / "whole", device=CPU)
    killed = Line(broken_at=8 * 21)
    with pytest.raises(KeyboardInterrupt):
        train(killed, straight, tmp_path / "killed", device=CPU)
    task = Line()
    train(task, straight, tmp_path / "killed", device=CPU, resume=True)
    assert task.numbers[0] == 8 * 16  # the last checkpoint was at step 16
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_data_workers_change_nothing(tmp_path):
    train(Line(), settings(), tmp_path / "none", device=CPU)
    train(Line(), settings(workers=2), tmp_path / "two", device=CPU)
    none, two = weights(tmp_path / "none"), weights(tmp_path / "two")
    assert all(torch.equal(none[key], two[key]) for key in none)


def test_accumulation_equals_the_whole_batch(tmp_path):
    train(Line(), settings(), tmp_path / "whole", device=CPU)
    train(Line(), settings(accumulate=4), tmp_path / "pieces", device=CPU)
    whole, pieces = weights(tmp_path / "whole"), weights(tmp_path / "pieces")
    assert all(torch.allclose(whole[key], pieces[key], atol=1e-4) for key in whole)


def test_a_finished_run_resumed_trains_no_further(tmp_path):
    train(Line(), settings(), tmp_path, device=CPU)
    task = Line()
    train(task, settings(), tmp_path, device=CPU, resume=True)
    assert task.numbers == []


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    train(Line(), settings(), tmp_path / "whole", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train(Line(broken_at=1), settings(), tmp_path / "killed", device=CPU)
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()
    train(Line(), settings(), tmp_path / "killed", device=CPU, resume=True)
    assert all(
        torch.equal(weights(tmp_path / "whole")[key], value) for key, value in weights(tmp_path / "killed").items()
    )


def test_resuming_with_a_foreign_checkpoint_is_refused(tmp_path):
    train(Line(), settings(steps=8), tmp_path, device=CPU)
    other = Line()
    other.network = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="another network"):
        train(other, settings(), tmp_path, device=CPU, resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="damaged"):
        train(Line(), settings(), tmp_path, device=CPU, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    class Diverging(Line):
        def loss(self, batch, device):
            return {"total": super().loss(batch, device)["total"] / 0}

    with pytest.raises(ConfigError, match="not finite at step 0"):
        train(Diverging(), settings(), tmp_path, device=CPU)


def test_schedules():
    step = settings(schedule="step", milestones=(20, 30), warmup=0)
    assert [rate_factor(step, s) for s in (0, 19, 20, 30)] == pytest.approx([1, 1, 0.1, 0.01])
    warm = settings(schedule="step", warmup=10, warmup_factor=0.2)
    assert [rate_factor(warm, s) for s in (0, 5, 10)] == pytest.approx([0.2, 0.6, 1.0])
    cosine = settings(warmup=0)
    assert [rate_factor(cosine, s) for s in (0, 20)] == pytest.approx([1.0, 0.5])


def test_impossible_settings_are_refused():
    with pytest.raises(ValidationError, match="divisible by accumulate"):
        settings(accumulate=3)
    with pytest.raises(ValidationError, match="milestones"):
        settings(milestones=(40,))
    with pytest.raises(ValidationError, match="Extra inputs"):
        settings(learning_speed=1)


PROCESS = """
import sys, torch
sys.path[:0] = sys.argv[1:2]
import torch.distributed as dist
from pathlib import Path
from line_task import Line, settings
from fewmask.training.loop import train
dist.init_process_group("gloo")
train(Line(), settings(), Path(sys.argv[2]), device=torch.device("cpu"))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    train(Line(), settings(), tmp_path / "one", device=CPU)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517", str(script),
         str(Path(__file__).parent), str(tmp_path / "two")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(one[key], two[key], atol=1e-5) for key in one)
