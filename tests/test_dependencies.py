"""What pyproject.toml promises about Python and its dependencies, against the pins that the tests run with."""

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [
    word.rpartition(" ")[2]
    for word in PROJECT["classifiers"]
    if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", word)
]


def pinned(text: str, python: str) -> dict[str, Version]:
    """Name -> version of the lines that hold under ``python`` on Linux."""
    here = {"python_full_version": f"{python}.1", "python_version": python, "sys_platform": "linux"}
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(here):
            (pin,) = requirement.specifier
            found[requirement.name.lower()] = Version(pin.version)
    return found


def direct() -> list[Requirement]:
    """What is installed for the tests, ours to bound."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["dev"], *extras["docs"]]
    return [found for found in map(Requirement, lines) if found.name != PROJECT["name"]]


def test_the_lowest_python_is_the_first_one_promised():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert [int(python.partition(".")[2]) for python in PYTHONS] == list(range(11, 11 + len(PYTHONS)))


@pytest.mark.parametrize("python", PYTHONS)
def test_every_promised_python_has_a_pin_within_the_bounds(python):
    pins = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"), python)
    for requirement in direct():
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


@pytest.mark.slow
@pytest.mark.skipif(find_spec("uv") is None, reason="uv is not installed")
@pytest.mark.parametrize("python", PYTHONS)
def test_the_newest_allowed_versions_are_not_older_than_the_pins(python):
    """Needs the registry. A bound that holds a newer version back, ours or of one dependency on another, shows here."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--extra", "dev", "--upgrade",
               "--python-version", python, "--no-header", "--no-annotate", "--quiet"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    newest = pinned(done.stdout, python)
    pins = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"), python)
    held_back = {
        name: (str(pin), str(newest[name])) for name, pin in pins.items() if name in newest and newest[name] < pin
    }
    assert not held_back, "pinned, newest allowed"
    for requirement in direct():
        name = requirement.name.lower()
        assert newest[name].major <= pins[name].major, f"{name} {newest[name]} is out: run the tests with it"
