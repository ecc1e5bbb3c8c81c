"""The queue: one after another, told, cancelled, gone on with, and still there after the studio was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_runs import dense_tracks, write_run, write_video
from studios import only, studio

from fewmask.errors import ConfigError
from fewmask.studio.commands import VERBS, command_of, new_folder
from fewmask.studio.job_progress import progress_of
from fewmask.studio.jobs import Jobs


def wait_for(what, seconds=400):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def jobs(tmp_path):
    queue = Jobs(tmp_path / "jobs")
    queue.start()
    yield queue
    queue.stop()


def ended(jobs, job):
    return wait_for(lambda: (state := jobs.state(job)) not in ("waiting", "running") and state)


def test_one_after_another_with_their_logs(jobs):
    first = jobs.add("version", ["--version"])
    wrong = jobs.add("wrong", ["segment", "nothing.mp4", "--out", "x"])
    assert ended(jobs, first) == "finished"
    assert ended(jobs, wrong) == "failed"
    assert "nothing.mp4" in jobs.log(wrong)
    told = jobs.described(wrong)
    assert told["command"] == "fewmask segment nothing.mp4 --out x"
    assert told["started"] <= told["ended"]
    assert "no such file" in told["progress"]["line"]


def a_slow_job(jobs, tmp_path):
    """A job that runs until it is told to stop."""
    (tmp_path / "slow").mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "slow" / "pipe.json")
    return jobs.add("slow", ["eval", "ytvis", "--gt", str(tmp_path / "slow" / "pipe.json"), "--pred", "x"])


def test_cancel(jobs, tmp_path):
    job = a_slow_job(jobs, tmp_path)
    behind = jobs.add("behind", ["--version"])
    wait_for(lambda: jobs.state(job) == "running")
    assert jobs.state(behind) == "waiting"
    jobs.cancel(job)
    assert ended(jobs, job) == "cancelled"
    assert ended(jobs, behind) == "finished"
    with pytest.raises(ConfigError, match="ended already"):
        jobs.cancel(job)


def test_a_waiting_job_is_cancelled_at_once(tmp_path):
    queue = Jobs(tmp_path / "jobs")
    job = queue.add("never", ["--version"])
    queue.cancel(job)
    assert queue.state(job) == "cancelled"


def test_a_job_outlives_its_studio(tmp_path):
    """The studio is killed; the next one finds the job running, and sees it end."""
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from fewmask.studio.jobs import Jobs
queue = Jobs(Path({str(tmp_path / "jobs")!r}))
job = queue.add("slow", ["eval", "ytvis", "--gt", {str(tmp_path / "pipe.json")!r}, "--pred", "x"])
queue.start()
while queue.state(job) != "running": time.sleep(0.02)
print("running", flush=True)
time.sleep(60)
"""
    os.mkfifo(tmp_path / "pipe.json")
    first = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "running\n"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    again = Jobs(tmp_path / "jobs")
    (job,) = again.all()
    assert again.state(job) == "running"
    again.start()
    again.cancel(job)
    assert ended(again, job) == "cancelled"
    again.stop()


def test_a_job_whose_process_was_killed_goes_on_by_resume(tmp_path):
    jobs = Jobs(tmp_path / "jobs")
    job = jobs.add("x", ["--version"], resumable=True)
    folder = tmp_path / "jobs" / "0001"
    (folder / "started.json").write_text(json.dumps({"pid": 1, "started": 0}))
    (folder / "lock").touch()
    assert jobs.state(job) == "interrupted"
    jobs.resume(job)
    (again,) = jobs.all()
    assert jobs.state(again) == "waiting"
    assert again.words == ("--version", "--resume")
    with pytest.raises(ConfigError, match="cannot be resumed"):
        jobs.resume(again)


def test_damaged_folders_cost_nothing(tmp_path):
    jobs = Jobs(tmp_path / "jobs")
    jobs.add("good", ["--version"])
    for number, text in enumerate(("", "[]", "{}", '{"number": 1}'), 2):
        (tmp_path / "jobs" / f"{number:04d}").mkdir()
        (tmp_path / "jobs" / f"{number:04d}" / "job.json").write_text(text)
    assert [job.title for job in jobs.all()] == ["good"]


@pytest.mark.parametrize(
    ("log", "done", "total", "left"),
    [
        ("frames: 41/96 (0.5/s, 106 s left)\n", 41, 96, 106),
        ("frames: 41 (0.5/s)\n", 41, None, None),
        ("videos: 1/3 (0.0/s, 60 s left)\ndog: 12 of 90 proposals kept in 7 frames\n", 1, 3, 60),
        ("step 30/600  loss 1.234  3 min left\n", 30, 600, 180),
        ("round 1, step 10/150  loss 0.5  1 min left\n", 10, 150, 60),
        ("3/10 dog.mp4: 4 clips\n", 3, 10, None),
        ("", None, None, None),
        ("fewmask: x.mp4: no such file\n", None, None, None),
    ],
)
def test_progress_is_read_from_what_the_verbs_print(log, done, total, left):
    found = progress_of(log)
    assert (found.done, found.total, found.left_s) == (done, total, left)


@pytest.fixture
def opened(tmp_path):
    video = write_video(tmp_path / "clip.mp4", 20)
    run = write_run(tmp_path / "run", dense_tracks(20), source=video)
    return studio(tmp_path, run, video)


def test_the_page_starts_what_the_command_line_takes(opened, tmp_path):
    """Every form makes a command line that the verbs' own parser understands."""
    import fewmask.cli.main as cli

    client, context = opened
    mined = tmp_path / "mined"
    (mined / "results").mkdir(parents=True)
    (mined / "instances.json").write_text("{}")
    (mined / "manifest.json").write_text(json.dumps({"command": ["/x/fewmask", "mine", "a.mp4", "--out", "o"]}))
    context.library.open(mined)
    run, video, dataset = only(client, "run"), only(client, "video"), only(client, "dataset")
    answers = {
        "segment": {"video": video, "min_score": 0.25},
        "index": {"videos": [video], "name": "my pool"},
        "mine": {"videos": [video], "frame_step": 3},
        "refine": {"dataset": dataset, "steps": 20},
        "train": {"data": run, "name": "x", "steps": 10},
    }
    assert answers.keys() == VERBS.keys()
    import typer.main

    command = typer.main.get_command(cli.app)
    for verb, given in answers.items():
        made = client.post("/api/jobs", json={"verb": verb, "answers": given})
        assert made.status_code == 200, made.text
        words = context.jobs.get(made.json()["number"]).words
        part, rest = command, list(words)
        while hasattr(part, "commands") and part.commands:
            part = part.commands[rest.pop(0)]
        part.make_context(verb, rest, resilient_parsing=False)
    numbers = [job["number"] for job in client.get("/api/jobs").json()["jobs"]]
    assert numbers == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("verb", "answers"),
    [
        ("rm", {}), ("segment", {}), ("segment", {"video": "../../etc"}), ("segment", {"video": ["x"]}),
        ("segment", {"out": "/tmp/x"}), ("mine", {"videos": []}), ("index", {"videos": "x"}),
    ],
)  # fmt: skip
def test_what_no_form_asks_is_refused(opened, verb, answers):
    answer = opened[0].post("/api/jobs", json={"verb": verb, "answers": answers})
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]
    assert opened[0].get("/api/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"min_score": 2}, {"min_score": "0"}, {"min_score": True},
        {"weights": "--debug"}, {"weights": "../../x"}, {"weights": "a\nb"},
    ],
)  # fmt: skip
def test_answers_that_cannot_be(opened, changes):
    client, context = opened
    with pytest.raises(ConfigError):
        command_of(context, "segment", {"video": only(client, "video"), **changes})


def test_results_never_share_a_folder(opened):
    _, context = opened
    names = {new_folder(context, "runs", "../../x y").name for _ in range(3)}
    assert names == {"______x_y", "______x_y-2", "______x_y-3"}
    assert all((context.out / "runs" / name).is_dir() for name in names)
