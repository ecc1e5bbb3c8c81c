"""A script that keeps a stream until it ends: decoding and the network are at work in threads at that moment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from fewmask import MinVIS
from fewmask.pipelines.segment import demo_clip
model = MinVIS.from_pretrained()
stream = model.stream(demo_clip(short=True))
print(next(stream).index)
"""


@pytest.mark.slow
def test_no_abort_at_the_end_of_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=300, env=environment, check=False
        )
        assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
