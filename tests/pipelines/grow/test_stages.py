"""Stages are done once, and again only when what goes into them has changed."""

import pytest

from fewmask.errors import ConfigError
from fewmask.pipelines.grow.stages import Stages


def _counting(calls, value=1):
    def work(folder):
        calls.append(folder.name)
        (folder / "result.txt").write_text(str(value))
        return {"value": value}

    return work


def test_done_once(tmp_path):
    calls = []
    first = Stages(tmp_path).run("a", {"x": 1}, _counting(calls))
    again = Stages(tmp_path).run("a", {"x": 1}, _counting(calls))
    assert calls == ["a"]
    assert again.outcome == first.outcome == {"value": 1}
    assert again.digest == first.digest


def test_another_input_redoes_it_in_an_empty_folder(tmp_path):
    calls = []
    Stages(tmp_path).run("a", {"x": 1}, _counting(calls))
    (tmp_path / "a" / "left.txt").write_text("of before")
    redone = Stages(tmp_path).run("a", {"x": 2}, _counting(calls, 2))
    assert calls == ["a", "a"]
    assert redone.outcome == {"value": 2}
    assert not (tmp_path / "a" / "left.txt").exists()


def test_a_change_reaches_what_follows_and_nothing_before(tmp_path):
    calls = []

    def chain(choice):
        stages = Stages(tmp_path)
        a = stages.run("a", {}, _counting(calls))
        b = stages.run("b", {"a": a.digest, "choice": choice}, _counting(calls, choice))
        stages.run("c", {"b": b.digest}, _counting(calls))

    chain(1)
    chain(2)
    assert calls == ["a", "b", "c", "b", "c"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_stage_that_died(tmp_path, resumes):
    def dies(folder):
        (folder / "part").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).run("a", {"x": 1}, dies, resumes=resumes)
    seen = []
    Stages(tmp_path).run("a", {"x": 1}, lambda folder: seen.append((folder / "part").exists()) or {}, resumes=resumes)
    assert seen == [resumes]


def test_a_half_done_stage_of_another_input_starts_anew(tmp_path):
    def dies(folder):
        (folder / "part").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).run("a", {"x": 1}, dies, resumes=True)
    seen = []
    Stages(tmp_path).run("a", {"x": 2}, lambda folder: seen.append((folder / "part").exists()) or {}, resumes=True)
    assert seen == [False]


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"given": {"x": 1}}', '{"given": {"x": 1}, "outcome": 3}'])
def test_a_damaged_record_is_told(tmp_path, text):
    Stages(tmp_path).run("a", {"x": 1}, lambda _: {})
    (tmp_path / "a" / "stage.json").write_text(text)
    with pytest.raises(ConfigError, match=r"stage\.json: damaged; delete") as error:
        Stages(tmp_path).run("a", {"x": 1}, lambda _: {})
    assert "\n" not in str(error.value)
