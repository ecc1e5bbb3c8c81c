import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewmask.datasets.sparse_frames import read_frame_lists, sparse_frames, write_frame_lists
from fewmask.errors import ConfigError, DatasetError


@pytest.mark.parametrize(
    ("length", "ratio", "expected"),
    [
        (36, 0.01, (18,)),
        (36, 0.05, (0, 18)),
        (36, 0.1, (0, 9, 18, 27)),
        (1, 0.5, (0,)),
        (50, 0.05, (0, 25)),  # 2.5 rounds to 2, the even neighbour
        (70, 0.05, (0, 17, 35, 52)),  # 3.5 rounds to 4
        (5, 1.0, (0, 1, 2, 3, 4)),
    ],
)
def test_rule(length: int, ratio: float, expected: tuple[int, ...]) -> None:
    assert sparse_frames(length, ratio) == expected


@given(st.integers(1, 500), st.floats(0.001, 1.0))
def test_frames_ascend_within_the_video(length: int, ratio: float) -> None:
    frames = sparse_frames(length, ratio)
    assert len(frames) == max(round(ratio * length), 1)
    assert list(frames) == sorted(set(frames))
    assert 0 <= frames[0] <= frames[-1] < length


@pytest.mark.parametrize(("length", "ratio"), [(0, 0.5), (3, 0.0), (3, 1.1), (3, float("nan"))])
def test_out_of_range(length: int, ratio: float) -> None:
    with pytest.raises(ConfigError):
        sparse_frames(length, ratio)


def test_file_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "frames.json"
    write_frame_lists(path, {"a": 36, "b": 10}, 0.1)
    assert read_frame_lists(path) == {"a": (0, 9, 18, 27), "b": (5,)}
    document = json.loads(path.read_text())
    document["frames"]["b"] = [10]
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="'b' must ascend within"):
        read_frame_lists(path)
