"""Stages of a profile: what they add up to, in one thread and in several."""

import threading

import pytest

from fewmask.media import stage_times
from fewmask.media.stage_times import Profile, first_frame, profiled, stage, timed


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where a test says so."""

    class Clock:
        now = 100.0

        def passes(self, seconds):
            self.now += seconds

    own = Clock()
    monkeypatch.setattr(stage_times.time, "perf_counter", lambda: own.now)
    return own


def test_stages_inside_others_count_for_themselves_alone(clock):
    with profiled() as profile:
        clock.passes(1)
        with stage("outer"):
            clock.passes(2)
            for _ in range(3):
                with stage("inner"):
                    clock.passes(4)
        first_frame()
        clock.passes(1)
        first_frame()
    assert profile.as_json() == {
        "total_s": 16.0,
        "first_frame_s": 15.0,
        "stages": {
            "inner": {"seconds": 12.0, "share": 0.75, "calls": 3},
            "outer": {"seconds": 2.0, "share": 0.125, "calls": 1},
        },
    }


def test_the_time_until_each_item_counts_and_errors_pass_through(clock):
    def source():
        for item in range(3):
            clock.passes(5)
            yield item
        raise ValueError("broken")

    seen = []

    def take():
        for item in timed("decode", source()):
            clock.passes(1)  # by whoever takes them
            seen.append(item)

    with profiled() as profile, pytest.raises(ValueError, match="broken"):
        take()
    assert seen == [0, 1, 2]
    assert profile.stages["decode"].seconds == 15.0


def test_threads_share_the_profile_and_do_not_nest_in_one_another():
    inside, done = threading.Event(), threading.Event()

    def other():
        with stage("other"):
            inside.set()
            done.wait(5)

    with profiled() as profile, stage("main"):
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(5)
        with stage("small"):
            pass
        done.set()
        thread.join()
    assert set(profile.stages) == {"other", "main", "small"}
    assert profile.stages["main"].seconds + profile.stages["small"].seconds >= profile.stages["other"].seconds * 0.5


def test_outside_a_profile_nothing_is_kept_and_a_profile_ends():
    with stage("nobody looks"):
        first_frame()
    assert list(timed("nobody looks", [1, 2])) == [1, 2]
    with profiled() as profile:
        pass
    with stage("too late"):
        pass
    assert profile.stages == {}
    assert Profile().as_json()["first_frame_s"] is None
