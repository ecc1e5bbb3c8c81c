import shutil
from pathlib import Path

import numpy as np
import pytest

from fewmask.errors import FewmaskError
from fewmask.retrieval.index import ClipIndex
from fewmask.retrieval.pool import Pool

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(params=["old_clustered", "old_compressed"])
def old(request, tmp_path):
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / "pool"))


def drawn():
    vectors = np.random.default_rng(0).standard_normal((300, 16)).astype("f4")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_an_index_of_before_is_converted_once(old):
    for _ in range(2):
        index = ClipIndex.open(old)
        expected = [name for name in range(300) if name not in {3, 281}]
        assert index.ids == expected
        assert index.about == {"embedder": "drawn"}
        np.testing.assert_allclose(index.vectors(expected), drawn()[expected], atol=1e-6)
        assert {path.name for path in old.iterdir()} <= {
            "pool.sqlite",
            "pool.sqlite-wal",
            "pool.sqlite-shm",
            "codes.faiss",
        }
    index.add([3], drawn()[3:4])
    assert len(ClipIndex.open(old)) == 299


def test_a_pool_of_before_keeps_its_videos(tmp_path):
    folder = shutil.copytree(FIXTURES / "old_pool", tmp_path / "pool")
    pool = Pool.open(folder)
    assert pool.index.ids == [f"/videos/{name}.mp4#0-23" for name in ("blue", "copy", "grey")]
    assert sorted(Path(name).stem for name in pool.videos) == ["blue", "copy", "green", "grey", "red", "torn"]
    assert pool.videos["/videos/red.mp4"].copied == ["/videos/copy.mp4"]
    assert (pool.videos["/videos/blue.mp4"].clips, pool.videos["/videos/blue.mp4"].size) == (1, 3844)
    assert "no video stream" in pool.videos["/videos/torn.mp4"].problem


def test_a_conversion_killed_before_it_was_tidy_is_tidied(old):
    kept = {path.name: path.read_bytes() for path in old.iterdir()}
    ClipIndex.open(old).add(["new"], drawn()[:1])
    for name, data in kept.items():
        (old / name).write_bytes(data)
    assert ClipIndex.open(old).ids[-1] == "new"
    assert not (old / "index.json").exists()


@pytest.mark.parametrize(
    "file", ["checkpoint-000001.faiss", "checkpoint-000001.json", "journal-000002.npz", "index.json"]
)
def test_a_damaged_file_of_before_is_named(old, file):
    data = (old / file).read_bytes()
    (old / file).write_bytes(data[: len(data) // 2])
    with pytest.raises(FewmaskError, match="damaged") as caught:
        ClipIndex.open(old)
    assert "\n" not in str(caught.value)
    if file != "index.json":
        (old / file).unlink()
        with pytest.raises(FewmaskError, match="missing"):
            ClipIndex.open(old)
    assert not (old / "pool.sqlite").exists()
