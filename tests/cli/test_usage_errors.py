"""A mistyped command is told in a few lines with exit code 2, through the real entry point."""

import sys

import pytest

from fewmask.cli import main as command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["synth", "--objct", "3"], "--objct"),
        (["nosuch"], "nosuch"),
        (["synth"], "Missing option"),
        (["synth", "--from", "x", "--out", "y", "--videos", "many"], "--videos"),
        (["synth", "--from", "x", "--out", "y", "--videos", "2", "--object-size", "big"], "--object-size"),
        (["train", "nosuch"], "nosuch"),
    ],
)
def test_usage_errors_end_with_two(arguments, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fewmask", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert told in said.err
    assert "Traceback" not in said.err
