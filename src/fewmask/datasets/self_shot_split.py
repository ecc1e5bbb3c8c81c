"""Self-VIS and Self-OVIS: the class lists of Self-Shot (section 3), and our own written-down videos and pairs.

The class lists are the paper's. Which videos form validation and which test, how OVIS videos with classes of both
lists are assigned, and which support videos go with which query was never published; these are our rules:

- Self-VIS keeps videos of exactly one class, as the paper does. A Self-OVIS video belongs to the held-out part
  (validation and test) if at least half of its objects are of held-out classes.
- The held-out videos, ranked by a seeded hash of their names, are dealt in turn to validation and test.
- Every (query video, held-out class visible in it) is one episode. Its supports are the other videos of the same
  part that show the class, ranked by a seeded hash; k shots take the first k, so that 1-shot is contained in
  5-shot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fewmask.datasets import json_file
from fewmask.datasets.class_names import ids_of
from fewmask.datasets.draws import ranked
from fewmask.datasets.presence import presence_of, video_names
from fewmask.datasets.video_subset import keep_videos
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.errors import DatasetError
from fewmask.media.atomic import write_json

Benchmark = Literal["self-vis", "self-ovis"]
Part = Literal["train", "val", "test"]

_SELF_VIS_TRAIN = """
tennis_racket snowboard surfboard earless_seal horse boat mouse tiger frog elephant truck owl airplane zebra
train deer fish leopard turtle fox duck snake skateboard rabbit cat sedan parrot giant_panda ape person
"""
_SELF_VIS_HELD_OUT = """
eagle cow motorbike bear dog shark giraffe monkey lizard hand
"""
_SELF_OVIS_TRAIN = """
Fish Vehical Sheep Zebra Bird Poultry Elephant Motorcycle Dog Monkey Boat Turtle Cow Parrot Giraffe Tiger
Giant_panda
"""
_SELF_OVIS_HELD_OUT = """
Person Horse Bicycle Rabbit Cat Airplane Bear Lizard
"""
_TRAIN: Mapping[Benchmark, str] = {"self-vis": _SELF_VIS_TRAIN, "self-ovis": _SELF_OVIS_TRAIN}
_HELD_OUT: Mapping[Benchmark, str] = {"self-vis": _SELF_VIS_HELD_OUT, "self-ovis": _SELF_OVIS_HELD_OUT}


@dataclass(frozen=True)
class SupportPair:
    """One episode: a query video, the class in question, and all its supports in their drawn order (video names)."""

    query: str
    class_id: int
    supports: tuple[str, ...]


def class_ids(dataset: YtvisDataset, benchmark: Benchmark) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(training ids, held-out ids) of the benchmark's classes in ``dataset``.

    Raises:
        DatasetError: the dataset lacks classes of the benchmark. Self-VIS needs the YouTube-VIS 2019 classes:
            Hand, Owl, Eagle, Sedan and Ape do not exist in 2021, though the paper names 2021.
    """
    categories = {category.id: category.name for category in dataset.categories}
    train, missing_train = ids_of(_TRAIN[benchmark].split(), categories)
    held_out, missing_held_out = ids_of(_HELD_OUT[benchmark].split(), categories)
    if missing_train or missing_held_out:
        needed = "YouTube-VIS 2019" if benchmark == "self-vis" else "OVIS"
        raise DatasetError(
            f"{dataset.path or 'dataset'}: categories lack {', '.join(missing_train + missing_held_out)}; "
            f"{benchmark} needs the {needed} classes"
        )
    return train, held_out


def split(dataset: YtvisDataset, benchmark: Benchmark, *, seed: int = 0) -> dict[Part, YtvisDataset]:
    """The videos of each part by the rules above; annotations of a kept video all stay.

    Raises:
        DatasetError: as `class_ids`.
    """
    train, held_out = class_ids(dataset, benchmark)
    classes: dict[int, list[int]] = {video.id: [] for video in dataset.videos}
    for annotation in dataset.annotations:
        classes[annotation.video_id].append(annotation.category_id)
    names = video_names(dataset)
    parts: dict[Part, list[int]] = {"train": [], "val": [], "test": []}
    held: dict[str, int] = {}
    for video, found in classes.items():
        if not found or (benchmark == "self-vis" and len(set(found)) > 1):
            continue
        of_held_out = sum(category in held_out for category in found)
        if 2 * of_held_out >= len(found):
            held[names[video]] = video
        elif set(found) & set(train):
            parts["train"].append(video)
    for place, name in enumerate(ranked(sorted(held), benchmark, "val or test", seed)):
        parts["val" if place % 2 == 0 else "test"].append(held[name])
    return {part: keep_videos(dataset, videos) for part, videos in parts.items()}


def pairs(part: YtvisDataset, benchmark: Benchmark, *, seed: int = 0) -> list[SupportPair]:
    """The fixed episodes of the validation or test part that `split` gave, by class and query name.

    A query whose class no other video shows has no supports and is left out.

    Raises:
        DatasetError: as `class_ids`.
    """
    _, held_out = class_ids(part, benchmark)
    presence = presence_of(part)
    found = []
    for category in held_out:
        for query in sorted(presence[category]):
            others = [video for video in presence[category] if video != query]
            supports = tuple(ranked(others, benchmark, "supports", seed, category, query))
            if supports:
                found.append(SupportPair(query, category, supports))
    return found


def write_pairs(path: str | Path, found: Sequence[SupportPair]) -> None:
    """Write pairs as JSON, whole or not at all, for use by other tools.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    write_json(Path(path), {"pairs": [asdict(pair) for pair in found]}, indent=1)


def read_pairs(path: str | Path) -> list[SupportPair]:
    """The pairs of a file that `write_pairs` wrote.

    Raises:
        DatasetError: malformed.
    """
    path = Path(path)
    found = []
    for index, entry in enumerate(json_file.entries(json_file.load_object(path), "pairs", str(path))):
        where = f"{path}: pairs[{index}]"
        supports = json_file.field(entry, "supports", list, where)
        if {type(name) for name in supports} - {str}:
            raise DatasetError(f"{where}: 'supports' must be a list of video names")
        query, category = json_file.field(entry, "query", str, where), json_file.integer(entry, "class_id", where)
        found.append(SupportPair(query, category, tuple(supports)))
    return found
