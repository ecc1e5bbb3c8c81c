import pytest

from fewmask.datasets.class_names import COCO, DATASETS, OVIS, YTVIS_2019, YTVIS_2021, class_mapping


def test_ids_are_those_of_the_files() -> None:
    assert [len(names) for names in (YTVIS_2019, YTVIS_2021, OVIS, COCO)] == [40, 40, 25, 80]
    assert (YTVIS_2019[1], YTVIS_2019[17], YTVIS_2019[40]) == ("person", "train", "tennis_racket")
    assert (YTVIS_2021[1], YTVIS_2021[26], YTVIS_2021[40]) == ("airplane", "person", "zebra")
    assert (OVIS[1], OVIS[13], OVIS[25]) == ("Person", "Giant_panda", "Vehical")
    assert (COCO[1], COCO[13], COCO[67], COCO[90]) == ("person", "stop sign", "dining table", "toothbrush")
    assert 12 not in COCO


@pytest.mark.parametrize(
    ("source", "target", "name", "becomes"),
    [
        ("ytvis_2019", "ytvis_2021", "sedan", "car"),
        ("ytvis_2019", "ytvis_2021", "eagle", "bird"),
        ("ytvis_2019", "ytvis_2021", "person", "person"),
        ("ytvis_2019", "ytvis_2021", "hand", None),
        ("ytvis_2021", "ytvis_2019", "bird", None),
        ("ytvis_2021", "ytvis_2019", "car", None),
        ("ytvis_2019", "coco", "mouse", None),
        ("coco", "ytvis_2021", "mouse", None),
        ("coco", "ytvis_2021", "frisbee", "flying_disc"),
        ("ytvis_2019", "ovis", "motorbike", "Motorcycle"),
        ("ytvis_2019", "ovis", "sedan", "Vehical"),
        ("ytvis_2019", "ovis", "giant_panda", "Giant_panda"),
        ("ovis", "coco", "Poultry", "bird"),
        ("ytvis_2019", "coco", "tennis_racket", "tennis racket"),
    ],
)
def test_counterparts(source: str, target: str, name: str, becomes: str | None) -> None:
    identity = next(key for key, value in DATASETS[source].items() if value == name)
    found = class_mapping(source, target).get(identity)
    assert (None if found is None else DATASETS[target][found]) == becomes


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_dataset_maps_to_itself(dataset: str) -> None:
    assert class_mapping(dataset, dataset) == {key: key for key in DATASETS[dataset]}
