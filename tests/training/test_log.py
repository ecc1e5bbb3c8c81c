"""The log of a run: lines of a killed run that are done again, TensorBoard events, and what to do without it."""

import csv
import sys

import pytest
import torch
from line_task import CPU, Line, settings
from pydantic import ValidationError

from fewmask.errors import ConfigError
from fewmask.training.loop import train


def steps_of(folder):
    with (folder / "log.csv").open() as handle:
        return [int(row["step"]) for row in csv.DictReader(handle)]


def test_a_resumed_run_logs_every_step_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(Line(broken_at=8 * 31), settings(checkpoint_every=16), tmp_path, device=CPU)
    assert steps_of(tmp_path) == [10, 20, 30]  # the last checkpoint was at step 16
    train(Line(), settings(checkpoint_every=16), tmp_path, device=CPU, resume=True)
    assert steps_of(tmp_path) == [10, 20, 30, 40]


def test_validates_during_training(tmp_path):
    lines = []
    train(Line(), settings(validate_every=16), tmp_path, device=CPU, report=lines.append)
    assert [line.step for line in lines if line.figures] == [16, 32]
    with (tmp_path / "log.csv").open() as handle:
        assert [row["step"] for row in csv.DictReader(handle) if "error" in row["figures"]] == ["16", "32"]


def test_tensorboard_events(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(KeyboardInterrupt):
        train(Line(broken_at=8 * 31), settings(checkpoint_every=16, tensorboard=True), tmp_path, device=CPU)
    train(Line(), settings(checkpoint_every=16, tensorboard=True), tmp_path, device=CPU, resume=True)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/total")] == [10, 20, 30, 40]
    assert [event.step for event in events.Scalars("validation/error")] == [40]
    assert events.Scalars("learning_rate")[0].value > 0


def test_tensorboard_that_is_not_installed_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    task = Line()
    with pytest.raises(ConfigError, match=r"fewmask\[tensorboard\]"):
        train(task, settings(tensorboard=True), tmp_path, device=CPU)
    assert task.numbers == []


def test_dropout_survives_a_restart(tmp_path):
    class Dropping(Line):
        def __init__(self, **options):
            super().__init__(**options)
            self.network = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
            with torch.no_grad():
                for parameter in self.network.parameters():
                    parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))

    train(Dropping(), settings(), tmp_path / "whole", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train(Dropping(broken_at=8 * 21), settings(), tmp_path / "killed", device=CPU)
    train(Dropping(), settings(), tmp_path / "killed", device=CPU, resume=True)
    whole, resumed = (
        torch.load(tmp_path / name / "weights" / "weights.pt", weights_only=True) for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_half_precision_on_a_cpu_and_milestones_of_a_cosine_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="fp16"):
        train(Line(), settings(precision="fp16"), tmp_path, device=CPU)
    with pytest.raises(ValidationError, match="cosine"):
        settings(milestones=(10,))
