"""Class names of YouTube-VIS 2019 and 2021, OVIS and COCO, and how one set of classes maps to another.

Ids are part of the formats: YouTube-VIS 2019 and 2021 give different ids, and partly different names, to the same
class.
"""

import re
from collections.abc import Mapping, Sequence

_YTVIS_2019 = """
person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck cat cow fish train
horse turtle bear motorbike giraffe leopard fox deer owl surfboard airplane truck zebra tiger elephant
snowboard boat shark mouse frog eagle earless_seal tennis_racket
"""
_YTVIS_2021 = """
airplane bear bird boat car cat cow deer dog duck earless_seal elephant fish flying_disc fox frog giant_panda
giraffe horse leopard lizard monkey motorbike mouse parrot person rabbit shark skateboard snake snowboard
squirrel surfboard tennis_racket tiger train truck turtle whale zebra
"""
# "Vehical" is how the OVIS files spell it.
_OVIS = """
Person Bird Cat Dog Horse Sheep Cow Elephant Bear Zebra Giraffe Poultry Giant_panda Lizard Parrot Monkey
Rabbit Tiger Fish Turtle Bicycle Motorcycle Airplane Boat Vehical
"""
# The empty places are ids that COCO does not use.
_COCO = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, , stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, , backpack, umbrella,
, , handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove,
skateboard, surfboard, tennis racket, bottle, , wine glass, cup, fork, knife, spoon, bowl, banana, apple,
sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, , dining
table, , , toilet, , tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink,
refrigerator, , book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""

YTVIS_2019: Mapping[int, str] = dict(enumerate(_YTVIS_2019.split(), start=1))
YTVIS_2021: Mapping[int, str] = dict(enumerate(_YTVIS_2021.split(), start=1))
OVIS: Mapping[int, str] = dict(enumerate(_OVIS.split(), start=1))
COCO: Mapping[int, str] = {
    index: " ".join(name.split()) for index, name in enumerate(_COCO.split(","), start=1) if name.strip()
}
DATASETS: Mapping[str, Mapping[int, str]] = {
    "ytvis_2019": YTVIS_2019,
    "ytvis_2021": YTVIS_2021,
    "ovis": OVIS,
    "coco": COCO,
}

_SAME = {"motorbike": "motorcycle", "flyingdisc": "frisbee", "vehical": "vehicle"}
_BROADER = {
    "sedan": "car",
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "owl": "bird",
    "eagle": "bird",
    "parrot": "bird",
    "duck": "poultry",
    "poultry": "bird",
}
_HOMONYMS = {"coco": {"mouse": "computer mouse"}}  # in YouTube-VIS a mouse is an animal


def plain(name: str) -> str:
    """``name`` in lower case, letters and digits only: "Giant_panda", "giant panda" and "GiantPanda" become one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def class_mapping(source: str, target: str) -> dict[int, int]:
    """Class id in ``source`` -> class id in ``target``, for every class that has a counterpart.

    A counterpart is the same class under another spelling (motorbike, motorcycle) or, where there is none, the
    nearest broader class (sedan -> car -> Vehical; owl -> bird; duck -> Poultry -> bird). Never a narrower one:
    bird has no counterpart in YouTube-VIS 2019, and COCO's mouse, a device, none anywhere.

    Args:
        source: ytvis_2019, ytvis_2021, ovis or coco.
        target: as ``source``.

    Raises:
        KeyError: an unknown dataset name.
    """
    targets = {_canonical(name, target): key for key, name in DATASETS[target].items()}
    mapping: dict[int, int] = {}
    for key, name in DATASETS[source].items():
        concept: str | None = _canonical(name, source)
        while concept is not None and concept not in targets:
            concept = _BROADER.get(concept)
        if concept is not None:
            mapping[key] = targets[concept]
    return mapping


def ids_of(names: Sequence[str], categories: Mapping[int, str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Ids of ``names`` in ``categories`` whatever the spelling, and the names that are not there."""
    by_name = {plain(name): key for key, name in categories.items()}
    found = tuple(by_name[plain(name)] for name in names if plain(name) in by_name)
    return found, tuple(name for name in names if plain(name) not in by_name)


def _canonical(name: str, dataset: str) -> str:
    word = plain(name)
    return _HOMONYMS.get(dataset, {}).get(word, _SAME.get(word, word))
