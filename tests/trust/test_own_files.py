"""A short round of `fuzz_own_files.py` in every run of the tests, a long one among the slow ones."""

import pytest
from fuzz_own_files import FAMILIES, fuzz

QUICK = {
    "run": 150,
    "mined": 150,
    "recipes": 60,
    "weights": 40,
    "training": 60,
    "synth": 150,
    "frames": 150,
    "facts": 150,
    "results": 24,
    "corrections": 24,
    "result-cache": 60,
    "grow": 30,
    "many": 30,
    "studio": 60,
    "old-pools": 8,
    "films": 24,
    "supports": 24,
    "vipmt": 12,
}


PASSED_OVER = {"studio"}
"""A studio opens without the jobs and manifests that it cannot read."""


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_damaged_files_of_our_own_give_nothing_but_fewmask_errors(family):
    counts = fuzz(family=family, seed=1, cases=QUICK[family])
    assert counts["cases"] == QUICK[family]
    if family not in PASSED_OVER:
        assert counts["refused"] > QUICK[family] // 4


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_many_damaged_files(family):
    fuzz(family=family, seed=2, cases=2000)
