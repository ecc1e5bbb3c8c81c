"""Where the parts of a published dataset lie below its root; told before anything loads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.errors import DatasetError


@dataclass(frozen=True)
class Part:
    """One file or folder of a dataset.

    Attributes:
        name: by which a benchmark asks for it.
        places: relative to the root, the usual one first; the first that is there is taken.
        needed: whether the benchmark can do without.
    """

    name: str
    places: tuple[str, ...]
    needed: bool = True


YTVIS_TRAIN = (
    Part("train", ("train.json", "train/instances.json", "annotations/train.json")),
    Part("train frames", ("train/JPEGImages",)),
)
YTVIS = (
    *YTVIS_TRAIN,
    Part("valid", ("valid.json", "valid/instances.json", "annotations/valid.json")),
    Part("valid frames", ("valid/JPEGImages",)),
)
OVIS_TRAIN = (
    Part("train", ("annotations_train.json", "annotations/train.json", "train.json")),
    Part("train frames", ("train/JPEGImages", "train")),
)
OVIS = (
    *OVIS_TRAIN,
    Part("valid", ("annotations_valid.json", "annotations/valid.json", "valid.json")),
    Part("valid frames", ("valid/JPEGImages", "valid")),
)
UNSEEN = (*YTVIS_TRAIN, Part("all frames", ("train_all_frames/JPEGImages",), needed=False))
VSPW = (
    Part("data", ("data",)),
    Part("train list", ("train.txt",)),
    Part("val list", ("val.txt",)),
    Part("names", ("label_num_dic_final.json",), needed=False),
)
DAVIS_2016 = (
    Part("frames", ("JPEGImages/480p",)),
    Part("masks", ("Annotations/480p",)),
    Part("list", ("ImageSets/480p/val.txt", "ImageSets/2016/val.txt")),
)
DAVIS_2017 = (
    Part("frames", ("JPEGImages/480p",)),
    Part("masks", ("Annotations_unsupervised/480p",)),
    Part("list", ("ImageSets/2017/val.txt",)),
)


def find_parts(root: Path, parts: Sequence[Part]) -> Mapping[str, Path]:
    """Name -> place of every part that is there.

    Raises:
        DatasetError: a needed one is not; the message names the first.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; --data takes the root of the dataset")
    found = {}
    for part in parts:
        place = next((root / name for name in part.places if (root / name).exists()), None)
        if place is not None:
            found[part.name] = place
        elif part.needed:
            others = "".join(f", or {name}" for name in part.places[1:])
            raise DatasetError(f"{root / part.places[0]}: missing{others}; see docs/reproduction.md for the layout")
    return found


def check_frames(root: Path, file_names: Sequence[str]) -> None:
    """Whether every frame that an annotation file speaks of is there.

    Raises:
        DatasetError: names the first that is not.
    """
    for name in file_names:
        if not (root / name).is_file():
            raise DatasetError(f"{root / name}: missing; the annotations speak of this frame")
