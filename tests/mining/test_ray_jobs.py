"""Mining over Ray: two workers of a local cluster write the bytes that one process writes, and a run goes on."""

import sys

import pytest
from mining_red_square import TOOLS, RedProposer, write_video

from fewmask.errors import ConfigError
from fewmask.mining.mine_videos import mine
from fewmask.mining.settings import MiningSettings

SETTINGS = MiningSettings(keep_every=3, flow_short_side=64)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def test_without_ray(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"fewmask\[scale\]"):
        mine([write_video(tmp_path / "a", 2)], tmp_path / "out", settings=SETTINGS, ray="local", **TOOLS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_workers_on_ray_are_byte_equal_to_one_process(monkeypatch, tmp_path):
    pytest.importorskip("ray.data")
    from pathlib import Path

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the workers find the estimators
    videos = [write_video(tmp_path / name, length, speed) for name, length, speed in (("a", 9, 2), ("b", 6, 3))]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    mine([*videos, bad], tmp_path / "one", settings=SETTINGS, **TOOLS)

    RedProposer.calls = 0
    with pytest.raises(KeyboardInterrupt):
        mine([*videos, bad], tmp_path / "ray", settings=SETTINGS, **{**TOOLS, "proposer": _Failing})
    summary = mine([*videos, bad], tmp_path / "ray", settings=SETTINGS, workers=2, ray="local", resume=True, **TOOLS)
    assert [outcome.name for outcome in summary.videos] == ["a", "b", "bad"]
    assert summary.videos[2].skipped
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")


class _Failing(RedProposer):
    def __init__(self):
        super().__init__(fail_at=4)
