from fuzz_readers import fuzz


def test_mutated_datasets_give_nothing_but_fewmask_errors() -> None:
    counts = fuzz(seed=1, cases=150)
    assert counts["cases"] == 150
    assert sum(count for key, count in counts.items() if key.endswith("refused")) > 30
