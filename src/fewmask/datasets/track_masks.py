"""The masks of a track as files give them: compressed or plain run lengths, polygons, or null."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from pycocotools import mask as coco_mask

from fewmask.datasets.json_file import image_size
from fewmask.datasets.run_lengths import measure_runs
from fewmask.datasets.segmentation import check_form, to_rle
from fewmask.datasets.ytvis_types import Pixels
from fewmask.errors import DatasetError
from fewmask.media.rle import Rle

_BATCH = 300  # masks measured at once: enough for array operations, few enough for the cache

Track = TypeVar("Track")
Masks = list[Rle | None]


class TrackMasks(Generic[Track]):
    """Collects the masks of many tracks, measures them in batches, and yields each finished track in order."""

    def __init__(self) -> None:
        self.finished: list[Track] = []
        self._waiting: list[tuple[str, Masks, list[int], Callable[[Masks, Pixels], Track]]] = []
        self._counts: list[str] = []
        self._pixels: list[int] = []

    def add(
        self,
        values: list[Any],
        size: tuple[int, int],
        where: str,
        make: Callable[[Masks, Pixels], Track],
        *,
        any_size: bool = False,
    ) -> None:
        """Add a track of a video whose frames have ``size`` (height, width).

        ``make`` gets its masks and the pixels inside each, once they have been measured. With ``any_size`` a run-length
        mask may have a size of its own.

        Raises:
            DatasetError: a mask, of this track or of one before, is malformed.
        """
        masks: Masks = []
        present: list[int] = []
        video_size = [*size]
        for frame, value in enumerate(values):
            if value is None or value == []:
                masks.append(None)
                continue
            if type(value) is dict and value.get("size") == video_size and type(value.get("counts")) is str:
                mask: Rle = {"size": video_size, "counts": value["counts"]}
            elif type(value) is dict and value.get("size") == video_size and type(value.get("counts")) is list:
                mask = _from_runs(value["counts"], video_size, f"{where}: segmentations[{frame}]")
            else:
                mask = _slow_mask(value, size, f"{where}: segmentations[{frame}]", any_size=any_size)
            present.append(frame)
            self._counts.append(mask["counts"])
            self._pixels.append(mask["size"][0] * mask["size"][1])
            masks.append(mask)
        self._waiting.append((where, masks, present, make))
        if len(self._counts) >= _BATCH:
            self.flush()

    def flush(self) -> list[Track]:
        """Measure what still waits; all finished tracks."""
        covered, inside = measure_runs(self._counts)
        wrong = np.flatnonzero(covered != np.array(self._pixels, dtype=np.int64))
        if len(wrong):
            self._raise(int(wrong[0]), int(covered[wrong[0]]))
        start = 0
        for _, masks, present, make in self._waiting:
            areas = np.zeros(len(masks), dtype=np.int64)
            areas[present] = inside[start : start + len(present)]
            start += len(present)
            self.finished.append(make(masks, areas))
        self._waiting.clear()
        self._counts.clear()
        self._pixels.clear()
        return self.finished

    def _raise(self, index: int, covered: int) -> None:
        pixels = self._pixels[index]
        for where, _, present, _ in self._waiting:
            if index < len(present):
                place = f"{where}: segmentations[{present[index]}]"
                if covered < 0:
                    raise DatasetError(f"{place}: bad RLE, 'counts' is no valid run-length code")
                raise DatasetError(f"{place}: bad RLE, the runs cover {covered} pixels, the mask has {pixels}")
            index -= len(present)


def _from_runs(counts: list[Any], size: list[int], where: str) -> Rle:
    """Plain run lengths, as YouTube-VIS itself stores its ground truth."""
    try:
        covered = sum(counts)
        fits = type(covered) is int and covered == size[0] * size[1] and min(counts) >= 0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise DatasetError(f"{where}: bad RLE, 'counts' must be whole numbers that cover {size[0] * size[1]} pixels")
    coded = coco_mask.frPyObjects({"size": size, "counts": counts}, size[0], size[1])
    return {"size": size, "counts": coded["counts"].decode("ascii")}


def _slow_mask(value: Any, size: tuple[int, int], where: str, *, any_size: bool) -> Rle:
    """A mask in another form than the usual one."""
    height, width = size
    if any_size and isinstance(value, dict) and "size" in value:
        own = value["size"]
        if not isinstance(own, list) or len(own) != 2:
            raise DatasetError(f"{where}: RLE 'size' must be [height, width]")
        height, width = image_size({"height": own[0], "width": own[1]}, where)
    check_form(value, height, width, where)
    return to_rle(value, height, width, where)
