import os
import signal
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.errors import DatasetError, InUseError
from fewmask.media import rle
from fewmask.media.results import FrameResult
from fewmask.media.spool import ResultSpool

MASK = rle.encode(np.eye(6, 7))


def result(index):
    return FrameResult(index, (6, 7), (1, 5), (1, 2), (0.1 + index / 7, -3.5), (MASK, None), index / 30)


def fill(path, count):
    records = []
    with ResultSpool(path) as spool:
        for index in range(count):
            for record in (result(index), {"sums": [index, None, "x"]}, bytes([index % 256]) * 300):
                spool.append(index, record)
                records.append((index, record))
    return records


def test_records_come_back(tmp_path):
    records = fill(tmp_path / "s", 5)
    with ResultSpool(tmp_path / "s") as spool:
        assert (spool.last_index, spool.discarded_bytes) == (4, 0)
        assert list(spool.records()) == records
        assert list(spool.records(start=3)) == records[9:]
        assert list(spool.results()) == [result(index) for index in range(5)]


def test_reading_while_writing(tmp_path):
    with ResultSpool(tmp_path / "s") as spool:
        spool.append(0, {"a": 1})
        reading = spool.records()
        assert next(reading) == (0, {"a": 1})
        spool.append(1, {"a": 2})
        assert list(reading) == []
        assert [index for index, _ in spool.records()] == [0, 1]


def test_torn_at_every_byte(tmp_path):
    """A file that ends anywhere in its last two records opens with every record before, and takes new ones."""
    records = fill(tmp_path / "whole", 3)
    data = (tmp_path / "whole").read_bytes()
    ends = [len(data)]
    for count in (8, 7):
        with ResultSpool(tmp_path / f"part{count}") as spool:
            for index, record in records[:count]:
                spool.append(index, record)
        ends.append((tmp_path / f"part{count}").stat().st_size)
    path = tmp_path / "torn"
    for cut in range(ends[2], ends[0] + 1):
        path.write_bytes(data[:cut])
        count = 9 if cut == ends[0] else 8 if cut >= ends[1] else 7
        with ResultSpool(path) as spool:
            assert list(spool.records()) == records[:count]
            assert spool.discarded_bytes == cut - ends[9 - count]
            spool.append(2, {"new": cut})
        with ResultSpool(path) as spool:
            assert list(spool.records()) == [*records[:count], (2, {"new": cut})]


def test_damage_before_the_end_is_told_and_at_the_end_dropped(tmp_path):
    path = tmp_path / "s"
    records = fill(path, 4)
    data = path.read_bytes()
    with ResultSpool(tmp_path / "shorter") as spool:
        for index, record in records[:-1]:
            spool.append(index, record)
    last = (tmp_path / "shorter").stat().st_size
    for position in range(8, len(data), 7):
        damaged = data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]
        path.write_bytes(damaged)
        if position < last:
            with pytest.raises(DatasetError, match=r"s: is damaged (before its first record|after frame \d)"):
                ResultSpool(path)
            assert path.read_bytes() == damaged
        else:
            with ResultSpool(path) as spool:
                assert list(spool.records()) == records[:-1]


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\xf5FMr" * 50, bytes(range(256)) * 9])
def test_what_a_power_cut_leaves_behind_the_records_is_dropped(tmp_path, tail):
    records = fill(tmp_path / "s", 3)
    with (tmp_path / "s").open("ab") as handle:
        handle.write(tail)
    with ResultSpool(tmp_path / "s") as spool:
        assert list(spool.records()) == records
        assert spool.discarded_bytes == len(tail)


def test_cut_under_the_writer(tmp_path):
    path = tmp_path / "s"
    with ResultSpool(path) as spool:
        for index in range(5):
            spool.append(index, {"i": index})
        os.truncate(path, path.stat().st_size - 3)
        with pytest.raises(DatasetError, match="cut short after frame 3 while the run went on"):
            list(spool.records())
        with pytest.raises(DatasetError, match="cut short"):
            spool.truncate_to(9)


def test_one_writer(tmp_path):
    with ResultSpool(tmp_path / "s") as spool:
        spool.append(0, {})
        with pytest.raises(InUseError, match="s: is being written by another process"):
            ResultSpool(tmp_path / "s")
        assert [index for index, _ in spool.records()] == [0]
    ResultSpool(tmp_path / "s").close()


def test_full_disk(tmp_path):
    """A record that does not fit is named, and the file is as it was before it."""
    script = (
        "import resource, signal, sys\nfrom fewmask.media.spool import ResultSpool\n"
        "from fewmask.errors import DatasetError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "import os\n"
        "with ResultSpool(sys.argv[1]) as spool:\n"
        "    try:\n"
        "        for index in range(100): spool.append(index, os.urandom(400))\n"
        "    except DatasetError as error: print(index, error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "s")], capture_output=True, text=True, env=environment, check=True
    )
    assert "frame 6 cannot be stored (File too large); free some space and resume" in done.stdout
    with ResultSpool(tmp_path / "s") as spool:
        assert (spool.last_index, spool.discarded_bytes) == (5, 0)


@pytest.mark.parametrize("payload", [b"[1]", b"{", b"\xff", b'{"index": 1}', b'{"index": 1, "size": 3}'])
def test_whole_records_with_nonsense_in_them(tmp_path, payload):
    kind, packed = 2, zlib.compress(payload)
    header = struct.pack("<IQB", len(packed), 7, kind)
    checksum = zlib.crc32(packed, zlib.crc32(header))
    mark = struct.pack("<4sIIQB", b"\xf5FMr", len(packed), checksum, 7, kind)
    (tmp_path / "s").write_bytes(b"FMSPOOL2" + mark + packed)
    with ResultSpool(tmp_path / "s") as spool, pytest.raises(DatasetError, match="record of frame 7 cannot be read"):
        list(spool.records())


def test_short_magic_and_other_files(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(b"FMSP")
    with ResultSpool(path) as spool:
        spool.append(0, {})
        assert list(spool.records()) == [(0, {})]
    other = tmp_path / "movie.mp4"
    other.write_bytes(b"something else entirely")
    with pytest.raises(DatasetError, match=r"movie\.mp4: is not a spool"):
        ResultSpool(other)
    assert other.read_bytes() == b"something else entirely"
    with pytest.raises(DatasetError, match="cannot be opened"):
        ResultSpool(tmp_path / "missing" / "s")
    other.write_bytes(b"FMSPOOL1 and so on")
    with pytest.raises(DatasetError, match="written by an older version"):
        ResultSpool(other)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8).map(sorted), st.integers(0, 11))
def test_truncate_to(tmp_path_factory, indices, frame_index):
    path = tmp_path_factory.mktemp("spool") / "s"
    with ResultSpool(path) as spool:
        for index in indices:
            spool.append(index, {"i": index})
        spool.truncate_to(frame_index)
        kept = [index for index in indices if index < frame_index]
        assert spool.last_index == (kept[-1] if kept else None)
        spool.append(frame_index, b"again")
        assert [index for index, _ in spool.records()] == [*kept, frame_index]


def test_refused_records(tmp_path):
    with ResultSpool(tmp_path / "s") as spool:
        spool.append(3, {})
        with pytest.raises(DatasetError, match="frame 2 came after frame 3"):
            spool.append(2, {})
        for bad in ({"x": float("nan")}, {"x": object()}):
            with pytest.raises(DatasetError, match="record of frame 4 is not JSON"):
                spool.append(4, bad)
        assert list(spool.records()) == [(3, {})]


def test_memory_stays_flat(tmp_path):
    def peak(count):
        path = tmp_path / str(count)
        tracemalloc.start()
        with ResultSpool(path, sync_every=1000) as spool:
            for index in range(count):
                spool.append(index, b"x" * 100)
            assert sum(1 for _ in spool.records()) == count
            spool.truncate_to(count - 1)
        with ResultSpool(path) as spool:
            assert spool.last_index == count - 2
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(50)
    assert peak(4000) < peak(200) + 20_000


def test_killed_process_loses_at_most_the_record_in_hand(tmp_path):
    path = tmp_path / "s"
    script = (
        "import sys\nfrom fewmask.media.spool import ResultSpool\n"
        "spool = ResultSpool(sys.argv[1], sync_every=10**9)\nindex = 0\n"
        "while True:\n"
        "    spool.append(index, {'index': index})\n"
        "    if index == 200: print('go', flush=True)\n"
        "    index += 1\n"
    )
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        child.send_signal(signal.SIGKILL)
    with ResultSpool(path) as spool:
        found = list(spool.records())
    assert len(found) > 200
    assert found == [(index, {"index": index}) for index in range(len(found))]
