from fuzz_ytvis import fuzz


def test_mutated_files_give_nothing_but_fewmask_errors() -> None:
    ends = fuzz(seed=1, cases=150)
    assert sum(ends.values()) == 150
    assert ends["evaluated"] > 10
    assert ends["refused at gt"] > 20
    assert ends["refused at pred"] > 20
