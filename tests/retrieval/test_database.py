"""What a pool on disk stands: kills, two writers, readers meanwhile, a full disk, damaged bytes."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fewmask.errors import FewmaskError
from fewmask.retrieval import clip_rows
from fewmask.retrieval.clip_rows import ClipRow
from fewmask.retrieval.database import Database
from fewmask.retrieval.index import ClipIndex

WRITER = """
import sys
import numpy as np
from fewmask.retrieval.index import ClipIndex
folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("started", flush=True)
index = ClipIndex.open(folder)
vectors = np.random.default_rng(0).standard_normal((count, 8))
for number in range(count):
    index.add([f"{name}-{number}"], vectors[number : number + 1])
    print(f"{name}-{number}", flush=True)
    if number % 10 == 9:
        index.remove([f"{name}-{number}"])
        print(f"gone {name}-{number}", flush=True)
        index.compact()
"""


def writer(folder, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def acknowledged(lines):
    there = set()
    for line in lines:
        if line.startswith("gone "):
            there.discard(line[5:])
        elif line != "started":
            there.add(line)
    return there


def check_what_is_there(folder, lines, name):
    """All that was acknowledged is there; of what was under way when the process died, all or nothing."""
    expected = acknowledged(lines)
    index = ClipIndex.open(folder)
    found = {clip for clip in index.ids if str(clip).startswith(name)}
    number = sum(not line.startswith("gone") for line in lines if line != "started")
    under_way = {f"{name}-{number}", f"{name}-{number - 1}"}
    assert found - under_way == expected - under_way
    assert len(index.vectors(index.ids)) == len(index)


@pytest.mark.parametrize("turn", [0, 1, 2, *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(3, 30))])
def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path, turn):
    chance = random.Random(turn)
    with writer(tmp_path / "pool", "a", 10_000) as process:
        lines = [process.stdout.readline().strip()]
        # The first turns die at the first commits, the others anywhere.
        lines += [process.stdout.readline().strip() for _ in range(0 if turn % 3 == 0 else chance.randrange(1, 60))]
        time.sleep(chance.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().split("\n")
    lines = [line for line in lines if line]
    check_what_is_there(tmp_path / "pool", lines, "a")
    ClipIndex.open(tmp_path / "pool").add(["after"], np.ones((1, 8)))
    assert "after" in ClipIndex.open(tmp_path / "pool")


def test_two_writers_and_a_reader_at_once(tmp_path):
    writers = [writer(tmp_path / "pool", name, 40) for name in "ab"]
    seen, index = 0, ClipIndex.open(tmp_path / "pool")
    while any(process.poll() is None for process in writers):
        if len(index):
            ids, _ = index.search(np.ones((1, 8)), 3)
            assert len(set(ids[0].tolist())) == ids.shape[1]
            seen += 1
    for process, name in zip(writers, "ab", strict=True):
        lines, _ = process.communicate()
        assert process.returncode == 0
        assert acknowledged(lines.split()) >= {f"{name}-0", f"{name}-38"}
    assert seen
    assert set(ClipIndex.open(tmp_path / "pool").ids) == {f"{n}-{i}" for n in "ab" for i in range(40) if i % 10 != 9}


def test_a_search_sees_all_of_a_change_or_nothing_of_it(tmp_path):
    index = ClipIndex.create(tmp_path / "pool", 4)
    index.add(["still"], [[0, 0, 0, 1.0]])
    stop, wrong = threading.Event(), []

    def reading():
        other = ClipIndex.open(tmp_path / "pool")
        while not stop.is_set():
            ids, _ = other.search([[1.0, 1, 1, 0]], 10)
            if len(ids[0]) not in {1, 4}:
                wrong.append(ids)

    thread = threading.Thread(target=reading)
    thread.start()
    for _ in range(30):
        index.add(["x", "y", "z"], np.eye(4)[:3])
        index.remove(["x", "y", "z"])
    stop.set()
    thread.join()
    assert not wrong


def test_a_file_killed_before_its_first_commit_can_be_used_again(tmp_path):
    (tmp_path / "pool").mkdir()
    connection = sqlite3.connect(tmp_path / "pool" / "pool.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE pool (one)")
    for suffix in ("", "-wal", "-shm"):  # as they lie when a process dies here
        path = tmp_path / "pool" / f"pool.sqlite{suffix}"
        if path.exists():
            (tmp_path / f"kept{suffix}").write_bytes(path.read_bytes())
    connection.close()
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "pool" / f"pool.sqlite{suffix}").write_bytes((tmp_path / f"kept{suffix}").read_bytes())
    index = ClipIndex.open(tmp_path / "pool")
    assert len(index) == 0
    assert index.dimension is None
    index.add(["a"], [[1.0, 2.0]])
    assert ClipIndex.open(tmp_path / "pool").ids == ["a"]


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path, monkeypatch):
    index = ClipIndex.create(tmp_path / "pool", 512)
    index.add(["a"], np.ones((1, 512)))
    connect = sqlite3.connect

    def small(*args, **options):
        connection = connect(*args, **options)
        connection.execute("PRAGMA max_page_count = 20")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    full = ClipIndex.open(tmp_path / "pool")
    with pytest.raises(FewmaskError, match="no room left"):
        full.add([f"b{number}" for number in range(100)], np.random.default_rng(0).standard_normal((100, 512)))
    monkeypatch.undo()
    for one in (index, full, ClipIndex.open(tmp_path / "pool")):
        assert one.ids == ["a"]
    full.add(["b"], np.ones((1, 512)))
    assert len(ClipIndex.open(tmp_path / "pool")) == 2


def made(folder, count=40):
    index = ClipIndex.create(folder, 8, about={"embedder": "drawn"})
    vectors = np.random.default_rng(0).standard_normal((count, 8)).astype("f4")
    with index.writing() as connection:
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        looks = bytes(range(144))
        clip_rows.enter(connection, [ClipRow(f"v{n}.mp4#0-9", units[n], looks) for n in range(count)])
        clip_rows.put_videos(connection, {f"v{n}.mp4": "{}" for n in range(count)})
    index.compact()
    return vectors


def everything(folder, vectors):
    index = ClipIndex.open(folder)
    with index.database.reading() as connection:
        clips = clip_rows.clips_at(connection, clip_rows.vector_rows(connection).tolist())
        videos = clip_rows.all_videos(connection)
    found = index.search(vectors[:5], 3)[0].tolist()
    known = [name in index for name in index.ids]
    return index.ids, index.about, clips, videos, index.vectors(index.ids).tolist(), found, known


@pytest.mark.parametrize("mutants", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_bytes_are_told_in_one_line_or_do_no_harm(tmp_path, mutants):
    vectors = made(tmp_path / "pool")
    expected = everything(tmp_path / "pool", vectors)
    path = tmp_path / "pool" / "pool.sqlite"
    whole, chance, told = path.read_bytes(), random.Random(0), 0
    for _ in range(mutants):
        data = bytearray(whole)
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data))]
        for _ in range(chance.choice([1, 1, 8])):
            if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        for suffix in ("-wal", "-shm"):
            path.with_name(f"pool.sqlite{suffix}").unlink(missing_ok=True)
        path.write_bytes(data)
        try:
            assert not data or everything(tmp_path / "pool", vectors) == expected
        except FewmaskError as error:
            told += 1
            assert "\n" not in str(error)  # noqa: PT017 - most mutants are no error at all
    assert told > mutants // 3


@pytest.mark.parametrize("mutants", [15, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_damaged_cache_is_made_anew(tmp_path, mutants):
    vectors = np.random.default_rng(0).standard_normal((400, 8)).astype("f4")
    ClipIndex.create(tmp_path / "pool", 8, kind="compressed").add(range(400), vectors)
    path = tmp_path / "pool" / "codes.faiss"
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(mutants):
        data = bytearray(whole)
        if chance.random() < 0.3:
            data = data[: chance.randrange(len(data))]
        else:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        index = ClipIndex.open(tmp_path / "pool")
        assert index.search(vectors[:50], 1)[0][:, 0].tolist() == list(range(50))
        assert len(path.read_bytes()) == len(whole)


def test_a_cache_that_claims_more_than_it_holds_is_not_read(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((400, 8)).astype("f4")
    ClipIndex.create(tmp_path / "pool", 8, kind="compressed").add(range(400), vectors)
    path = tmp_path / "pool" / "codes.faiss"
    for size in (1 << 40, 1 << 62, -1, 0):
        data = path.read_bytes()
        start = data.index(b'"bytes": ') + 9
        path.write_bytes(data[:start] + str(size).encode() + data[data.index(b"}", start) :])
        assert ClipIndex.open(tmp_path / "pool").search(vectors[:9], 1)[0][:, 0].tolist() == list(range(9))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_pool_that_may_not_be_written_can_be_searched(tmp_path):
    vectors = made(tmp_path / "pool")
    (tmp_path / "pool").chmod(0o500)
    try:
        index = ClipIndex.open(tmp_path / "pool")
        assert index.search(vectors[:1], 1)[0].tolist() == [["v0.mp4#0-9"]]
        with pytest.raises(FewmaskError, match="who may write"):
            index.add(["a"], vectors[:1])
    finally:
        (tmp_path / "pool").chmod(0o700)


def test_a_read_only_pool_is_opened_as_one_that_nobody_writes(tmp_path, monkeypatch):
    vectors = made(tmp_path / "pool")
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = {path.name for path in (tmp_path / "pool").iterdir()} - {"pool.sqlite-wal", "pool.sqlite-shm"}
    assert ClipIndex.open(tmp_path / "pool").search(vectors[:1], 1)[0].tolist() == [["v0.mp4#0-9"]]
    assert before == {"pool.sqlite"}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 3", "version 3"),
        ("PRAGMA application_id = 1", "not a clip index"),
        ("CREATE TABLE another (a)", "not a clip index"),
        ("UPDATE pool SET dimension = 70000", "makes no sense"),
        ("UPDATE pool SET about = '[1]'", "damaged"),
        ("DELETE FROM pool", "damaged"),
        ("UPDATE vectors SET vector = zeroblob(32) WHERE row = 3", "damaged"),
        ("UPDATE clips SET first = 4 WHERE row = 3", "damaged"),
    ],
)
def test_a_database_edited_by_hand_is_told(tmp_path, statement, message):
    vectors = made(tmp_path / "pool")
    with contextlib.closing(sqlite3.connect(tmp_path / "pool" / "pool.sqlite")) as connection, connection:
        connection.execute(statement)
    with pytest.raises(FewmaskError, match=message):
        everything(tmp_path / "pool", vectors)


def test_a_process_forked_after_searching_searches_and_adds_too(tmp_path):
    vectors = made(tmp_path / "pool")
    index = ClipIndex.open(tmp_path / "pool")
    index.search(vectors[:1], 1)
    process = os.fork()
    if not process:
        index.add(["child"], vectors[:1])
        os._exit(0 if index.search(vectors[1:2], 1)[0].tolist() == [["v1.mp4#0-9"]] else 1)
    assert os.waitpid(process, 0)[1] == 0
    assert "child" in index
    assert Database(tmp_path / "pool").facts().clips == 41
