"""What the user shows of the kind that is wanted: masked pictures, plain pictures, or a clip.

Where masks come with the pictures they are taken as they are. In a plain picture the segmenter's objects are looked at,
and the one that is sure, large and near the middle is what is meant: people photograph what they mean.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle
from fewmask.media.file_kinds import IMAGE_SUFFIXES
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames
from fewmask.media.image_files import read_rgb
from fewmask.pipelines.grow.support_pictures import Example
from fewmask.vipmt.support import SupportSet, read_support

CLIP_PICTURES = 4
LEAST_SCORE = 0.3

Propose = Callable[[RgbImage], tuple[np.ndarray, np.ndarray]]
"""Masks bool [N, H, W] and scores [N] of a picture's objects."""


def read_hint(sources: Sequence[Path], propose: Callable[[], Propose]) -> tuple[list[Example], list[Example]]:
    """Examples of the kind, and of what is not meant.

    Args:
        sources: pictures, clips, folders of either, support folders with masks, COCO files.
        propose: makes the segmenter's proposer; called only where a picture has no mask.

    Raises:
        DatasetError: unreadable, or nothing that could be meant in any of them.
        ConfigError: a source that is not there.
    """
    shown: list[Example] = []
    not_shown: list[Example] = []
    plain: list[tuple[str, RgbImage]] = []
    for source in sources:
        if not source.exists():
            raise ConfigError(f"{source}: no such file or folder; --like takes pictures, clips or a support folder")
        if (masked := _masked(source)) is not None:
            for pictures in masked.classes.values():
                shown += [Example(p.rgb, rle.encode(p.mask), p.name) for p in pictures]
            not_shown += [Example(p.rgb, rle.encode(p.mask), p.name) for p in masked.negatives]
        else:
            plain += _plain(source)
    if plain:
        proposer = propose()
        found = (meant_object(name, rgb, *proposer(rgb)) for name, rgb in plain)
        shown += [example for example in found if example is not None]
    if not shown:
        names = ", ".join(str(source) for source in sources)
        raise DatasetError(f"{names}: no object stands out there; mark it with a mask (see docs/few-shot.md)")
    return shown, not_shown


def meant_object(name: str, rgb: RgbImage, masks: np.ndarray, scores: np.ndarray) -> Example | None:
    """The object that a plain picture is of: the highest score x area^1/4 x nearness to the middle; None if unsure."""
    height, width = rgb.shape[:2]
    best, value = None, 0.0
    for mask, score in zip(masks, scores.tolist(), strict=True):
        area = float(mask.mean())
        if score < LEAST_SCORE or not 0.003 <= area <= 0.9:
            continue
        rows, columns = np.nonzero(mask)
        off = np.hypot((rows.mean() + 0.5) / height - 0.5, (columns.mean() + 0.5) / width - 0.5)
        worth = score * area**0.25 * (1 - off)
        if worth > value:
            best, value = mask, worth
    return None if best is None else Example(rgb, rle.encode(best), name)


def _masked(source: Path) -> SupportSet | None:
    """The source as supports with masks; None where it has none."""
    if source.is_file() and source.suffix.lower() != ".json":
        return None
    if source.is_dir() and not _has_masks(source):
        return None
    return read_support(source)


def _has_masks(folder: Path) -> bool:
    """Whether a folder says of its pictures where the object is; half of it done is an error that names the file."""
    inside = [path for path in folder.rglob("*") if not path.name.startswith(".")]
    stems = {path.stem for path in inside if path.suffix.lower() in IMAGE_SUFFIXES - {".png"}}
    return any(
        path.suffix.lower() == ".json"
        or path.parent.name == "masks"
        or (path.suffix.lower() == ".png" and (path.stem.endswith("_mask") or path.stem in stems))
        for path in inside
    )


def _plain(source: Path) -> list[tuple[str, RgbImage]]:
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))
        return [pair for path in files for pair in _plain(path)]
    if source.suffix.lower() in IMAGE_SUFFIXES:
        return [(str(source), read_rgb(source))]
    with open_frames(source, skip_broken=True) as frames:
        every = max(1, (frames.estimated_length or 1) // CLIP_PICTURES)
        middle = every // 2
        return [(f"{source}, frame {frame.index}", frame.rgb) for frame in frames if frame.index % every == middle][
            :CLIP_PICTURES
        ]
