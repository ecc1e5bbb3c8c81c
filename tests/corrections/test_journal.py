"""The journal: what is acknowledged stays, two writers never lose one another's, damage is told."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing.pool import ThreadPool

import pytest

from fewmask.corrections.edits import Confirm, Delete, Merge, SetClass, Undo, read_edit
from fewmask.corrections.journal import Journal, VersionConflictError
from fewmask.errors import DatasetError

RESULTS = {"frames": 10}


def test_what_was_appended_is_read_again(tmp_path):
    journal = Journal(tmp_path / "j", RESULTS)
    edits = [Merge(into=1, other=2), Undo(), SetClass(track=1, name="dög <b>"), Delete(track=3, first=4)]
    for version, edit in enumerate(edits):
        assert journal.append(edit, version).version == version + 1
    again = Journal(tmp_path / "j", RESULTS)
    assert [entry.edit for entry in again.entries] == edits
    assert again.version == 4


def test_the_second_of_two_is_told(tmp_path):
    one, two = Journal(tmp_path / "j", RESULTS), Journal(tmp_path / "j", RESULTS)
    one.append(Merge(into=1, other=2), 0)
    with pytest.raises(VersionConflictError, match="version 0, it is 1"):
        two.append(Merge(into=2, other=1), 0)
    assert two.version == 1  # and has read what came first
    two.append(Undo(), 1)
    assert one.refresh()
    assert [type(entry.edit) for entry in one.entries] == [Merge, Undo]


def test_many_writers_at_once(tmp_path):
    def write(number):
        journal, done = Journal(tmp_path / "j", RESULTS), 0
        while done < 20:
            try:
                journal.append(Confirm(first=number, last=number), journal.version)
                done += 1
            except VersionConflictError:
                continue

    with ThreadPool(4) as pool:
        pool.map(write, range(4))
    entries = Journal(tmp_path / "j", RESULTS).entries
    assert [entry.version for entry in entries] == list(range(1, 81))
    assert sorted(entry.edit.first for entry in entries) == sorted([*range(4)] * 20)


@pytest.mark.parametrize("torn", [1, 7, 40])
def test_a_torn_last_line_was_never_acknowledged(tmp_path, torn):
    path = tmp_path / "j"
    journal = Journal(path, RESULTS)
    journal.append(Merge(into=1, other=2), 0)
    journal.append(Merge(into=1, other=3), 1)
    path.write_bytes(path.read_bytes()[:-torn])
    again = Journal(path, RESULTS)
    assert again.version == 1
    again.append(Merge(into=1, other=4), 1)
    assert [entry.edit.other for entry in Journal(path, RESULTS).entries] == [2, 4]


def test_a_torn_header_is_no_journal_yet(tmp_path):
    (tmp_path / "j").write_bytes(b'{"format":"fewm')
    journal = Journal(tmp_path / "j", RESULTS)
    journal.append(Undo(), 0)
    assert Journal(tmp_path / "j", RESULTS).version == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{nonsense}", "line 2: damaged"),
        (b"[]", "line 2: damaged"),
        (b'{"version":1,"at":"x","kind":"merge","into":1}', "line 2: not a correction, other: Field required"),
        (b'{"version":1,"at":"x","kind":"melt"}', "line 2: not a correction"),
        (b'{"version":2,"at":"x","kind":"undo"}', "line 2: version 2 where 1"),
        (b'{"version":1,"at":"x","kind":"merge","into":"1","other":2}', "into: Input should be a valid integer"),
    ],
)
def test_damage_is_told_by_its_line(tmp_path, line, message):
    Journal(tmp_path / "j", RESULTS).append(Undo(), 0)
    head = (tmp_path / "j").read_bytes().split(b"\n")[0]
    (tmp_path / "j").write_bytes(head + b"\n" + line + b"\n")
    with pytest.raises(DatasetError, match=message) as caught:
        Journal(tmp_path / "j", RESULTS)
    assert "\n" not in str(caught.value)


def test_corrections_of_other_results_are_refused(tmp_path):
    Journal(tmp_path / "j", RESULTS).append(Undo(), 0)
    with pytest.raises(DatasetError, match="other results"):
        Journal(tmp_path / "j", {"frames": 11})
    (tmp_path / "k").write_text(json.dumps({"format": "else"}) + "\n")
    with pytest.raises(DatasetError, match="not a journal"):
        Journal(tmp_path / "k", RESULTS)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 121, "\x00"])
def test_names_that_cannot_be(name):
    with pytest.raises(DatasetError, match="name"):
        read_edit({"kind": "set-class", "track": 1, "name": name}, "here")


def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path):
    path = tmp_path / "j"
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from fewmask.corrections.edits import Confirm
        from fewmask.corrections.journal import Journal
        journal = Journal(Path({str(path)!r}), {{"frames": 10}})
        while True:
            now = journal.version
            print(journal.append(Confirm(first=now, last=now), now).version, flush=True)
    """)
    told = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for line in writer.stdout:
            told = int(line)
            if told % 37 == 36:
                time.sleep(0.001)
                os.kill(writer.pid, signal.SIGKILL)
                break
        writer.stdout.close()
        writer.wait()
        entries = Journal(path, RESULTS).entries
        assert len(entries) >= told
        assert [entry.edit.first for entry in entries] == list(range(len(entries)))
