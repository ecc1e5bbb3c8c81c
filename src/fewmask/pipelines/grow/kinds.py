"""A kind of object as the stages hand it on: its name, masked pictures of it, and what those look like.

In a folder: the supports as `fewmask segment --support` takes them, and ``kinds.json`` with ``kind-N.npy`` and
``others.npy``, the vectors by which found objects are judged.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.datasets.json_file import load_object
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.atomic import write_bytes, write_json
from fewmask.media.own_files import reading_arrays
from fewmask.pipelines.grow.groups import Vectors
from fewmask.pipelines.grow.support_pictures import Example, folder_of_class, write_supports
from fewmask.vipmt.support import SupportPicture, SupportSet

MOST_EXAMPLES = 10
"""Supports per kind: memory and time of the few-shot network grow with them."""
MOST_OTHERS = 5
FILE = "kinds.json"


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind.

    Attributes:
        name: of the class.
        examples: masked pictures, best first.
        vectors: unit [n, D], what examples and tracks of the kind look like; there may be more of them than examples.
    """

    name: str
    examples: tuple[Example, ...]
    vectors: Vectors


@dataclass(frozen=True, eq=False)
class Kinds:
    """What is looked for, and what is not: ``others`` with ``other_vectors`` [m, D]."""

    kinds: tuple[Kind, ...]
    others: tuple[Example, ...]
    other_vectors: Vectors

    @property
    def names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(kind.name for kind in self.kinds)

    def supports(self, wanted: Sequence[int] | None = None) -> SupportSet:
        """As the few-shot network takes them; ``wanted`` chooses kinds by place."""
        places = range(len(self.kinds)) if wanted is None else wanted
        return SupportSet(
            {self.kinds[place].name: tuple(map(_picture, self.kinds[place].examples)) for place in places},
            tuple(map(_picture, self.others)),
        )

    def write(self, folder: Path) -> None:
        """Write vectors, pictures and masks; the list of them last."""
        for number, kind in enumerate(self.kinds, 1):
            write_supports(folder / "supports", kind.name, kind.examples)
            write_vectors(folder / f"kind-{number}.npy", kind.vectors)
        write_supports(folder / "supports", "", (), self.others)
        write_vectors(folder / "others.npy", self.other_vectors)
        write_json(
            folder / FILE,
            {
                "kinds": [
                    {"name": kind.name, "origins": [example.origin for example in kind.examples]} for kind in self.kinds
                ],
                "others": [example.origin for example in self.others],
            },
            indent=1,
        )


def read_kinds(folder: Path, supports: SupportSet) -> Kinds:
    """What `Kinds.write` wrote.

    Args:
        folder: of the stage.
        supports: `fewmask.vipmt.support.read_support` of its ``supports``.

    Raises:
        DatasetError: damaged.
    """
    record = load_object(folder / FILE)
    try:
        kinds = []
        for number, entry in enumerate(record["kinds"], 1):
            pictures = supports.classes[folder_of_class(entry["name"])]
            examples = [
                Example(picture.rgb, rle.encode(picture.mask), origin)
                for picture, origin in zip(pictures, entry["origins"], strict=True)
            ]
            vectors = read_vectors(folder / f"kind-{number}.npy")
            kinds.append(Kind(str(entry["name"]), tuple(examples), vectors))
        others = tuple(
            Example(picture.rgb, rle.encode(picture.mask), origin)
            for picture, origin in zip(supports.negatives, record["others"], strict=True)
        )
        return Kinds(tuple(kinds), others, read_vectors(folder / "others.npy"))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{folder / FILE}: damaged ({error}); delete the folder to do this stage again") from error


def _picture(example: Example) -> SupportPicture:
    return SupportPicture(example.origin, example.rgb, rle.decode(example.mask))


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Vectors float32 [N, D] as a .npy file, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(vectors, np.float32), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def read_vectors(path: Path) -> Vectors:
    """What `write_vectors` wrote.

    Raises:
        DatasetError: damaged.
    """
    with reading_arrays(path, "delete its folder to do this stage again"), path.open("rb") as handle:
        vectors = np.load(handle, allow_pickle=False)
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise DatasetError(f"{path}: not vectors float32 [N, D]; delete its folder to do this stage again")
    return np.asarray(vectors, np.float32)
