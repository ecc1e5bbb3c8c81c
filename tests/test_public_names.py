"""Every public name is there, is its own, and is imported only when used."""

import subprocess
import sys

import fewmask


def test_every_name_comes_from_its_home():
    for name in fewmask.__all__:
        value = getattr(fewmask, name)
        assert value.__doc__, name
        assert value.__module__.startswith("fewmask."), name


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, fewmask; print([m for m in ('torch', 'numpy', 'cv2', 'av') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
