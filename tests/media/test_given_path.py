from pathlib import Path

import pytest

from fewmask.errors import FewmaskError, VideoError
from fewmask.media.find_videos import find_sources, find_videos
from fewmask.media.frames import open_frames
from fewmask.media.given_path import expanded, given_path
from fewmask.pipelines.early_checks import check_files, check_weights
from fewmask.retrieval.index import ClipIndex
from fewmask.vipmt.support import read_support

NOBODY = "~there-is-no-such-user/x"


def test_a_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a.mp4") == given_path(Path("~/a.mp4"), "it") == tmp_path / "a.mp4"


@pytest.mark.parametrize(
    "use",
    [
        lambda name: find_videos([name]),
        open_frames,
        lambda name: check_files({"--from": Path(name)}),
        check_weights,
        read_support,
    ],
)
def test_the_home_of_nobody_is_not_there(use):
    with pytest.raises(FewmaskError, match="there-is-no-such-user") as caught:
        use(NOBODY)
    assert "\n" not in str(caught.value)


def test_a_source_in_the_home_of_nobody_is_left_to_whoever_opens_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_sources([NOBODY]) == [NOBODY]
    with pytest.raises(VideoError):
        open_frames(NOBODY)
    assert len(ClipIndex.open(NOBODY)) == 0
