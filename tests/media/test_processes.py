"""The pool of processes: order, errors, ends; the same outcomes from one process, several, and a Ray cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from worker_functions import DiesOnce, NegativeJobError, broken, square, squares

from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.processes import outcomes
from fewmask.media.ray_processes import outcomes_on_ray

JOBS = list(range(40))


@pytest.fixture
def importable(monkeypatch):
    """Where workers find the functions of the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z" if Path("/proc").exists() else True


def test_one_worker_is_this_process_and_takes_jobs_as_they_are_wanted():
    asked = iter(JOBS)
    with contextlib.closing(outcomes(asked, lambda: square, workers=1)) as found:
        assert next(found) == (0, os.getpid())
    assert next(asked) == 1


def test_several_give_the_same_in_order(importable):
    found = list(outcomes(JOBS, squares, workers=2))
    assert [value for value, _ in found] == [job * job for job in JOBS]
    assert os.getpid() not in {pid for _, pid in found}
    assert list(outcomes([], squares, workers=2)) == []


def test_the_error_of_a_job_comes_in_its_place_and_ends_the_workers(importable):
    found = outcomes([1, 2, -1, 3], squares, workers=2)
    pids = {next(found)[1], next(found)[1]}
    with pytest.raises(NegativeJobError):
        next(found)
    assert not any(is_alive(pid) for pid in pids)


def test_a_worker_that_dies_is_told(importable, tmp_path):
    with pytest.raises(FewmaskError, match="a worker died"):
        list(outcomes(JOBS, broken, workers=2))
    with pytest.raises(FewmaskError, match="a worker died"):
        list(outcomes([4, 5], partial(DiesOnce, str(tmp_path)), workers=2))


def test_workers_end_when_the_outcomes_are_no_longer_wanted(importable):
    found = outcomes(JOBS, squares, workers=2)
    pid = next(found)[1]
    assert is_alive(pid)
    found.close()
    assert not is_alive(pid)


PARENT = """
import contextlib, signal, sys
from functools import partial
from fewmask.media import stopping
from fewmask.media.processes import outcomes
from worker_functions import slow_forever
if __name__ == "__main__":
    stopping.listen()
    with contextlib.closing(outcomes([1, 2], partial(slow_forever, sys.argv[1]), workers=2)) as found:
        next(found)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(importable, tmp_path, number):
    (tmp_path / "parent.py").write_text(PARENT)
    begun = tmp_path / "begun"
    begun.mkdir()
    command = [sys.executable, str(tmp_path / "parent.py"), str(begun)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as parent:
        deadline = time.monotonic() + 120
        while len(list(begun.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        pids = [int(path.name.split("-")[1]) for path in begun.iterdir()]
        try:
            assert len(pids) == 2
            parent.send_signal(number)
            parent.wait(timeout=60)
        finally:
            parent.kill()
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in pids)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"fewmask\[scale\]"):
        next(outcomes_on_ray(JOBS, squares, workers=2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # all of them are Ray's own
def test_two_ray_nodes_one_worker_killed_in_the_middle(importable, tmp_path):
    pytest.importorskip("ray.data")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        assert len([node for node in ray.nodes() if node["Alive"]]) == 2
        found = list(outcomes_on_ray(range(12), partial(DiesOnce, str(tmp_path)), workers=2))
        assert found == [2 * job for job in range(12)]
        assert (tmp_path / "died").exists()
        assert len(list(tmp_path.glob("begun-5-*"))) >= 2
    finally:
        ray.shutdown()
        cluster.shutdown()
