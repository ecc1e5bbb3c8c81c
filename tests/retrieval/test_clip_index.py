import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fewmask.errors import FewmaskError
from fewmask.retrieval import pool_view
from fewmask.retrieval.index import ClipIndex

DIMENSION = 12


def random_vectors(count, seed=0, dimension=DIMENSION):
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def brute_force(stored, queries, k):
    names = list(stored)
    vectors = np.stack([stored[name] for name in names])
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ vectors.T
    order = np.argsort(-scores, axis=1)[:, :k]
    return np.array(names, object)[order], np.take_along_axis(scores, order, 1)


def test_search_is_cosine_brute_force_whatever_the_lengths(tmp_path):
    stored = dict(zip([f"clip{i}" for i in range(200)], random_vectors(200), strict=True))
    index = ClipIndex.create(tmp_path / "pool", DIMENSION)
    index.add(list(stored), [3 * vector for vector in stored.values()])
    queries = 0.1 * random_vectors(7, seed=1)
    ids, scores = index.search(queries, 5)
    expected_ids, expected_scores = brute_force(stored, queries, 5)
    assert ids.tolist() == expected_ids.tolist()
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)


def test_integer_ids_come_back_as_an_integer_array_and_k_is_cut_to_the_pool(tmp_path):
    index = ClipIndex.create(tmp_path / "pool", DIMENSION)
    index.add(np.array([40, 7]), random_vectors(2))
    ids, scores = index.search(random_vectors(1), 5)
    assert ids.dtype == np.int64
    assert ids.tolist() == [[40, 7]]
    assert scores.shape == (1, 2)


def test_what_was_added_and_removed_is_there_after_opening_again(tmp_path):
    index = ClipIndex.create(tmp_path / "pool", DIMENSION, about={"encoder": "tiny"})
    vectors = random_vectors(6)
    index.add(["a", "b", "c", "d"], vectors[:4])
    assert index.remove(["b", "never there"]) == 1
    index.compact()
    index.add(["e", "a"], vectors[4:])  # "a" gets another vector
    for again in (index, ClipIndex.open(tmp_path / "pool")):
        assert sorted(again.ids) == ["a", "c", "d", "e"]
        assert len(again) == 4
        assert "b" not in again
        assert again.about == {"encoder": "tiny"}
        assert again.search(vectors[5:], 1)[0].tolist() == [["a"]]
        assert again.search(vectors[:1], 1)[1].item() < 0.999
        np.testing.assert_allclose(again.vectors(["d"])[0] @ vectors[3] / np.linalg.norm(vectors[3]), 1, rtol=1e-5)


def test_a_missing_folder_opens_empty_and_takes_its_size_from_the_first_vectors(tmp_path):
    index = ClipIndex.open(tmp_path / "new")
    assert len(index) == 0
    assert not (tmp_path / "new").exists()
    with pytest.raises(FewmaskError, match="holds no clips"):
        index.search(random_vectors(1), 3)
    index.add([1], [[0.0, 2.0]])
    assert ClipIndex.open(tmp_path / "new").dimension == 2


class Pool(RuleBasedStateMachine):
    """Any order of changes, compactions and re-openings against a plain dictionary."""

    kind = "auto"

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "pool"
        self.index = ClipIndex.create(self.path, DIMENSION, kind=self.kind)
        self.stored = {}
        self.seed = seed

    @rule(ids=st.sets(st.integers(0, 30), max_size=8))
    def add(self, ids):
        self.seed += 1
        vectors = random_vectors(len(ids), self.seed)
        self.index.add(sorted(ids), vectors)
        self.stored |= dict(zip(sorted(ids), vectors, strict=True))

    @rule(ids=st.sets(st.integers(0, 30), max_size=8))
    def remove(self, ids):
        assert self.index.remove(sorted(ids)) == len(ids & self.stored.keys())
        for name in ids:
            self.stored.pop(name, None)

    @rule()
    def compact(self):
        self.index.compact()

    @rule()
    def open_again(self):
        self.index = ClipIndex.open(self.path)

    @invariant()
    def finds_what_brute_force_finds(self):
        assert set(self.index.ids) == set(self.stored)
        if self.stored:
            queries = random_vectors(3, seed=99)
            ids, scores = self.index.search(queries, 3)
            expected_ids, expected_scores = brute_force(self.stored, queries, 3)
            np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
            assert ids.tolist() == expected_ids.tolist()

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()


Pool.TestCase.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPool = Pool.TestCase


@pytest.mark.parametrize("kind", ["exact", "compressed"])
def test_searching_while_others_add_and_remove(tmp_path, kind):
    index = ClipIndex.create(tmp_path / "pool", DIMENSION, kind=kind)
    fixed = random_vectors(400)
    index.add([f"fixed{i}" for i in range(400)], fixed)
    assert index.form == kind
    stop, wrong = threading.Event(), []

    def searching():
        while not stop.is_set():
            ids, scores = index.search(fixed[:8], 1)
            if ids[:, 0].tolist() != [f"fixed{i}" for i in range(8)] or scores.min() < 0.9999:
                wrong.append(ids)

    threads = [threading.Thread(target=searching) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(25):
        index.add([f"new{turn}-{i}" for i in range(10)], random_vectors(10, seed=turn + 1))
        index.remove([f"new{turn - 3}-{i}" for i in range(10)])
        if turn % 10 == 5:
            index.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(ClipIndex.open(tmp_path / "pool")) == len(index) == 400 + 30


def clustered_vectors(count, dimension=32, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((40, dimension))
    return (centres[generator.integers(0, 40, count)] + 0.3 * generator.standard_normal((count, dimension))).astype(
        "f4"
    )


def odd_vectors(count):
    return random_vectors(count, dimension=33)


@pytest.mark.parametrize(
    ("kind", "draw"), [("clustered", clustered_vectors), ("compressed", random_vectors), ("compressed", odd_vectors)]
)
def test_large_pools_find_nearly_all_true_neighbours_and_take_changes(tmp_path, kind, draw):
    vectors = draw(4000, dimension=32) if draw is not odd_vectors else draw(4000)
    index = ClipIndex.create(tmp_path / "pool", vectors.shape[1], kind=kind)
    index.add(range(3900), vectors[:3900])
    assert index.form == "compressed"
    index.add(range(3900, 4000), vectors[3900:])
    index.remove(range(0, 4000, 7))
    stored = {i: vectors[i] for i in range(4000) if i % 7}
    queries = vectors[:200] + 0.01
    truth, _ = brute_force(stored, queries, 5)
    for _ in range(2):
        found, scores = index.search(queries, 5)
        hits = [len(set(line) & set(true)) for line, true in zip(found.tolist(), truth.tolist(), strict=True)]
        assert np.mean(hits) >= 0.99 * 5
        units = vectors[found] / np.linalg.norm(vectors[found], axis=2, keepdims=True)
        cosines = np.einsum("nkd,nd->nk", units, queries) / np.linalg.norm(queries, axis=1, keepdims=True)
        np.testing.assert_allclose(scores, cosines, atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        many, _ = index.search(queries[:3], 700)
        assert all(len(set(line)) == 700 and not any(name % 7 == 0 for name in line) for line in many.tolist())
        index = ClipIndex.open(tmp_path / "pool")
        assert index.form == "compressed"
    index.compact()  # written from what was read
    index = ClipIndex.open(tmp_path / "pool")
    assert index.search(queries, 5)[0].tolist() == found.tolist()
    np.testing.assert_allclose(np.linalg.norm(index.vectors([1, 3998]), axis=1), 1, rtol=1e-5)


def test_a_large_pool_grows_shrinks_to_nothing_and_grows_again(tmp_path):
    vectors = random_vectors(3000, dimension=16)
    index = ClipIndex.create(tmp_path / "pool", 16, kind="compressed")
    index.add(range(300), vectors[:300])
    assert index.form == "compressed"
    index.add(range(300, 3000), vectors[300:])  # more than four times as many: built again
    assert index.search(vectors[::100], 1)[0][:, 0].tolist() == list(range(0, 3000, 100))
    index.remove(range(3000))
    assert len(ClipIndex.open(tmp_path / "pool")) == 0
    index.add(range(40), vectors[:40])
    assert ClipIndex.open(tmp_path / "pool").search(vectors[:40], 1)[0][:, 0].tolist() == list(range(40))


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_near_copies_in_the_pool_do_not_make_searches_careless(tmp_path, spread):
    """The clips of one video find each other at once, which says nothing of queries from elsewhere."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((40, 32))

    def draw(count):
        return centres[generator.integers(0, 40, count)] + spread * generator.standard_normal((count, 32))

    vectors = np.repeat(draw(1000), 6, axis=0) + 0.02 * generator.standard_normal((6000, 32))
    queries = draw(300)
    index = ClipIndex.create(tmp_path / "pool", 32, kind="compressed")
    index.add(range(6000), vectors)
    _, scores = index.search(queries, 5)
    _, truth = brute_force(dict(enumerate(vectors)), queries, 5)
    assert (scores >= truth[:, -1:] - 1e-5).mean() >= 0.99


@pytest.mark.parametrize("form", ["one of few", "each ten times", "mostly zeros"])
def test_pools_of_odd_vectors(tmp_path, form):
    generator = np.random.default_rng(0)
    vectors = {
        "one of few": np.eye(64, dtype=np.float32)[generator.integers(0, 64, 2000)],
        "each ten times": np.repeat(random_vectors(200, dimension=64), 10, axis=0),
        "mostly zeros": (random_vectors(2000, dimension=64) * (generator.random((2000, 64)) < 0.05)) + 1e-6,
    }[form]
    index = ClipIndex.create(tmp_path / "pool", 64, kind="compressed")
    index.add(range(2000), vectors)
    queries = vectors[::40]
    _, scores = index.search(queries, 5)
    _, truth = brute_force(dict(enumerate(vectors)), queries, 5)
    assert (scores >= truth[:, -1:] - 1e-5).mean() >= 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.add(["a"], [[0.0] * DIMENSION]), "no direction"),
        (lambda index: index.add(["a"], [[float("nan")] * DIMENSION]), "no direction"),
        (lambda index: index.add(["a", "a"], random_vectors(2)), "given twice"),
        (lambda index: index.add(["a"], random_vectors(2)), "1 ids for 2 vectors"),
        (lambda index: index.add(["a"], [[1.0, 2.0]]), r"shape \[1, 2\]; expected \[count, 12\]"),
        (lambda index: index.add([1.5], random_vectors(1)), "no clip id"),
        (lambda index: index.search(random_vectors(1)[0], 1), "shape"),
        (lambda index: index.search(random_vectors(1), 0), "at least one"),
        (lambda index: index.vectors(["nowhere"]), "'nowhere'"),
        (lambda index: ClipIndex.create(index.folder, 3), "not empty"),
    ],
)
def test_misuse_is_named_and_changes_nothing(tmp_path, change, message):
    index = ClipIndex.create(tmp_path / "pool", DIMENSION)
    index.add(["kept"], random_vectors(1))
    with pytest.raises(FewmaskError, match=message):
        change(index)
    assert index.ids == ClipIndex.open(tmp_path / "pool").ids == ["kept"]


def in_threads(*jobs):
    barrier, failures = threading.Barrier(len(jobs)), []

    def run(job):
        barrier.wait()
        try:
            job()
        except FewmaskError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_threads_that_write_the_same_id(tmp_path):
    for turn in range(10):
        index = ClipIndex.create(tmp_path / f"pool{turn}", DIMENSION)
        index.add(["a", "b"], random_vectors(2))
        assert not in_threads(*[lambda index=index: index.remove(["a"])] * 3)
        assert ClipIndex.open(index.folder).ids == ["b"]
        assert not in_threads(*[lambda index=index: index.add(["a"], random_vectors(1))] * 3)
        for one in (index, ClipIndex.open(index.folder)):
            assert one.search(random_vectors(1), 3)[0][0].tolist() == ["a", "b"]
        empty = ClipIndex.open(tmp_path / f"empty{turn}")
        wrong = in_threads(lambda i=empty: i.add(["a"], [[1.0]]), lambda i=empty: i.add(["b"], [[1.0, 2.0]]))
        assert len(wrong) == 1
        assert "shape" in wrong[0]
        assert len(ClipIndex.open(empty.folder)) == 1


def test_extreme_lengths_and_empty_queries(tmp_path):
    index = ClipIndex.create(tmp_path / "pool", 2)
    index.add([2**62, -3], [[1e-25, 0], [0, 1e25]])
    assert index.search([[1e30, 0]], 1)[0].tolist() == [[2**62]]
    assert index.search(np.empty((0, 2)), 1)[0].shape == (0, 1)
    with pytest.raises(FewmaskError, match="2\\^63"):
        index.add([2**63], [[1.0, 2.0]])


@pytest.mark.parametrize("dimension", [32, 96])
def test_auto_compares_all_vectors_until_they_take_much_memory(tmp_path, monkeypatch, dimension):
    monkeypatch.setattr(pool_view, "EXACT_BYTES", 4 * dimension * 5000)
    vectors = clustered_vectors(6000) if dimension == 32 else random_vectors(6000, dimension=dimension)
    index = ClipIndex.create(tmp_path / "pool", dimension)
    index.add(range(3000), vectors[:3000])
    assert index.form == "exact"
    index.add(range(3000, 6000), vectors[3000:])
    assert index.form == "compressed"
    assert index.search(vectors[:50], 1)[0][:, 0].tolist() == list(range(50))


def test_the_vectors_of_a_large_pool_are_not_held(tmp_path):
    index = ClipIndex.create(tmp_path / "pool", 96, kind="compressed")
    index.add(range(5000), random_vectors(5000, dimension=96))
    index.add(["one more"], random_vectors(1, seed=1, dimension=96))
    index.search(random_vectors(1, seed=2, dimension=96), 5)
    assert len(index._view.rows) == 1
    assert 0 < index._view.codes.effort <= 500  # else a good recall would say nothing


def test_what_comes_after_the_codes_gets_codes_when_it_has_become_much(tmp_path, monkeypatch):
    vectors = random_vectors(1000, dimension=16)
    index = ClipIndex.create(tmp_path / "pool", 16, kind="compressed")
    index.add(range(600), vectors[:600])
    index.add(range(600, 800), vectors[600:800])
    assert len(index._view.rows) == 200
    monkeypatch.setattr(pool_view, "_TAIL_BYTES", 4 * 16 * 300)
    index.add(range(800, 1000), vectors[800:])
    assert (len(index._view.rows), index._view.codes.entries, index._view.codes.built_with) == (0, 1000, 600)
    other = ClipIndex.open(tmp_path / "pool")
    assert other.search(vectors, 1)[0][:, 0].tolist() == list(range(1000))


def test_an_index_made_again_under_the_same_name_is_not_mixed_up_with_the_old_one(tmp_path):
    index = ClipIndex.create(tmp_path / "pool", 16, kind="compressed")
    index.add(range(500), random_vectors(500, dimension=16))
    shutil.copy(tmp_path / "pool" / "codes.faiss", tmp_path / "codes.faiss")
    shutil.rmtree(tmp_path / "pool")
    assert len(index) == 0
    again = ClipIndex.create(tmp_path / "pool", 16, kind="compressed")
    again.add(range(500), random_vectors(500, seed=1, dimension=16))
    shutil.copy(tmp_path / "codes.faiss", tmp_path / "pool" / "codes.faiss")
    for one in (index, ClipIndex.open(tmp_path / "pool")):
        found = one.search(random_vectors(500, seed=1, dimension=16), 1)[0]
        assert found[:, 0].tolist() == list(range(500))


def test_names_that_are_no_proper_text(tmp_path):
    index = ClipIndex.create(tmp_path / "pool", 2)
    names = ["caf\udce9.mp4#0-9", "🦊", "", "1", 1, "a'b\0c"]
    index.add(names, np.c_[np.arange(6), np.ones(6)])
    again = ClipIndex.open(tmp_path / "pool")
    assert again.ids == names
    assert all(name in again for name in names)
    assert again.search([[5.0, 1.0]], 1)[0].tolist() == [["a'b\0c"]]
    assert again.remove(["caf\udce9.mp4#0-9", 1]) == 2
    assert again.ids == ["🦊", "", "1", "a'b\0c"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(FewmaskError, match="not a clip index"):
        ClipIndex.open(tmp_path / "photos")
    with pytest.raises(FewmaskError, match="not empty"):
        ClipIndex.create(tmp_path / "photos", 3)
    with pytest.raises(FewmaskError, match="not a clip index"):
        ClipIndex.open(tmp_path / "photos" / "cat.jpg")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".DS_Store").touch()
    ClipIndex.open(tmp_path / "hidden").add([1], [[1.0]])
    assert ClipIndex.open(tmp_path / "hidden").ids == [1]
