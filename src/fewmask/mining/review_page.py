"""The review page: one HTML file with a picture strip per track, to accept or reject, and the decisions read back."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.json_file import load_object
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.atomic import whole_file, write_bytes
from fewmask.mining.mined_dataset import Keep, dataset_frames, file_name
from fewmask.mining.mined_video import MinedMask, MinedVideo
from fewmask.mining.track_figures import mean, track_figures

_TEMPLATE = Path(__file__).parent / "review_page.html"
_SLOT = "__TRACKS__"
_HEIGHT, _WIDTH, _PICTURES = 120, 160, 3  # pixels of one picture, pictures in a strip
_OUTLINE_BGR = (60, 220, 255)
_TINT = 0.3  # share of the outline's colour inside a mask, so that scattered ones are seen

ByteImage = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decisions:
    """What a person decided: tracks as (video, track id); everything else is undecided."""

    accepted: frozenset[tuple[str, int]]
    rejected: frozenset[tuple[str, int]]

    def keep(self, *, only_accepted: bool) -> Keep:
        """Which tracks stay: all but the rejected, or the accepted alone."""
        if only_accepted:
            return lambda video, track: (video, track) in self.accepted
        return lambda video, track: (video, track) not in self.rejected


def read_decisions(path: Path) -> Decisions:
    """The file that the page saves.

    Raises:
        DatasetError: missing or malformed; names the entry.
    """
    document = load_object(path)
    return Decisions(*(_tracks(document, key, path) for key in ("accepted", "rejected")))


def write_review_page(folder: Path, videos: Iterable[MinedVideo], keep_every: int) -> int:
    """Write ``thumbnails/<video>/<track>.jpg`` and ``review.html`` into ``folder``; returns the number of tracks.

    The page holds its pictures and scripts itself and may not load anything else.
    """
    head, tail = _TEMPLATE.read_text(encoding="utf-8").split(_SLOT)
    count = 0
    with (
        whole_file(folder / "review.html") as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as page,
    ):
        page.write(head + "[")
        for video in videos:
            for entry in _track_entries(folder, video, keep_every):
                page.write((",\n" if count else "\n") + _as_script_data(entry))
                count += 1
        page.write("\n]" + tail)
    return count


def _track_entries(folder: Path, video: MinedVideo, keep_every: int) -> Iterable[dict[str, Any]]:
    tracks: dict[int, list[tuple[int, MinedMask]]] = {}
    for index, masks in dataset_frames(video, keep_every).items():
        for mask in masks:
            tracks.setdefault(mask.track, []).append((index, mask))
    for track, seen in sorted(tracks.items()):
        strip = _strip(folder, video, seen)
        write_bytes(folder / "thumbnails" / video.name / f"{track:04d}.jpg", strip)
        yield {
            **track_figures(video, track, seen),
            "rank": mean(mask.rank for _, mask in seen),
            "margin": min((mask.margin for _, mask in seen if mask.margin is not None), default=None),
            "strip": base64.b64encode(strip).decode("ascii"),
        }


def _strip(folder: Path, video: MinedVideo, seen: list[tuple[int, MinedMask]]) -> bytes:
    """A track early, in the middle and late, side by side as JPEG; where it is too short for three, the whole frame."""
    places = [(place, False) for place in sorted({0, len(seen) // 2, len(seen) - 1})]
    if len(places) < _PICTURES:
        places.append((0, True))
    canvas = np.full((_HEIGHT, _WIDTH * _PICTURES, 3), 24, dtype=np.uint8)
    for column, (place, whole) in enumerate(places):
        index, mask = seen[place]
        picture = cv2.imread(str(folder / "images" / file_name(video.name, index)), cv2.IMREAD_COLOR)
        if picture is None:
            continue  # a picture that was moved away costs its thumbnail, not the page
        crop = _crop(picture.astype(np.uint8, copy=False), mask, whole=whole)
        top = (_HEIGHT - crop.shape[0]) // 2
        left = column * _WIDTH + (_WIDTH - crop.shape[1]) // 2
        canvas[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def _crop(picture: ByteImage, mask: MinedMask, *, whole: bool) -> ByteImage:
    """The mask tinted and outlined, with its surroundings or in the whole frame, fitted into one picture of a strip."""
    x, y, width, height = (0, 0, *picture.shape[1::-1]) if whole else rle.bbox(mask.mask)
    margin = 0.3 * max(width, height) + 8
    left, top = max(0, int(x - margin)), max(0, int(y - margin))
    right, bottom = int(x + width + margin) + 1, int(y + height + margin) + 1
    crop: ByteImage = np.ascontiguousarray(picture[top:bottom, left:right])
    inside = rle.decode(mask.mask)[top:bottom, left:right].astype(np.uint8)
    scale = min(_HEIGHT / crop.shape[0], _WIDTH / crop.shape[1])
    size = (max(1, int(crop.shape[1] * scale)), max(1, int(crop.shape[0] * scale)))
    fitted: ByteImage = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    inside = cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)
    fitted[inside > 0] = (1 - _TINT) * fitted[inside > 0] + _TINT * np.array(_OUTLINE_BGR)
    contours, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(fitted, contours, -1, _OUTLINE_BGR, 1, cv2.LINE_AA)
    return fitted


def _as_script_data(entry: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever a video is called."""
    return json.dumps(entry, allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")


def _tracks(document: dict[str, Any], key: str, path: Path) -> frozenset[tuple[str, int]]:
    entries = document.get(key)
    if not isinstance(entries, list):
        raise DatasetError(f"{path}: key {key!r} must be a list of [video, track]; save the file from the review page")
    tracks = set()
    for index, entry in enumerate(entries):
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and type(entry[1]) is int):
            raise DatasetError(f"{path}: {key}[{index}] must be [video name, track number]")
        tracks.add((entry[0], entry[1]))
    return frozenset(tracks)
