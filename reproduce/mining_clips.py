"""Videos whose masks are hidden from mining and used to score it: frames, cached proposals, right and wrong.

`Davis`: the 2016 labels merge all objects of a video into one mask, so at most one kept mask a frame is right, and
other things are marked nowhere. `Ytvis`: a YouTube-VIS file; on synthetic videos every object is marked. `Stills`:
pictures of a COCO file, each a video of one frame.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.media import rle

SLIVER = 0.005  # what covers less of a frame is neither searched nor counted


@dataclass(frozen=True)
class Clip:
    """Some frames of a video: pictures, and what is right in each, bool [n, H, W]."""

    name: str
    pictures: list[Path]
    truths: list[np.ndarray]


class Davis:
    """A folder with JPEGImages/ and Annotations/."""

    def __init__(self, folder: Path) -> None:
        self.frames, self._labels = folder / "JPEGImages", folder / "Annotations"

    def names(self, count: int) -> list[str]:
        return [folder.name for folder in sorted(self.frames.iterdir())[:count]]

    def pictures(self, name: str) -> list[Path]:
        return sorted((self.frames / name).glob("*.jpg"))

    def truth(self, name: str, index: int) -> np.ndarray:
        label = self._labels / name / f"{self.pictures(name)[index].stem}.png"
        mask = cv2.imread(str(label), cv2.IMREAD_GRAYSCALE) > 0
        return mask[None][[mask.any()]]


class Ytvis:
    """A YouTube-VIS file with its frames in JPEGImages/ beside it."""

    def __init__(self, file: Path) -> None:
        dataset = read_ytvis(file)
        self.frames = file.parent / "JPEGImages"
        self._videos = {str(video.id): video for video in dataset.videos}
        self._tracks = {
            name: [a.segmentations for a in dataset.annotations if a.video_id == video.id]
            for name, video in self._videos.items()
        }

    def names(self, count: int) -> list[str]:
        return list(self._videos)[:count]

    def pictures(self, name: str) -> list[Path]:
        return [self.frames / file for file in self._videos[name].file_names]

    def truth(self, name: str, index: int) -> np.ndarray:
        video = self._videos[name]
        masks = [rle.decode(track[index]) for track in self._tracks[name] if track[index] is not None]
        large = [mask.astype(bool) for mask in masks if mask.mean() >= SLIVER]
        return np.stack(large) if large else np.zeros((0, video.height, video.width), dtype=bool)


class Stills:
    """Held-out pictures of a COCO file where everything is marked: ids divisible by 5, without ``all80: false``."""

    def __init__(self, file: Path, images: Path) -> None:
        self._dataset, self._images = read_coco(file, images), images
        self._pictures = {
            str(image.id): image
            for image in self._dataset.images
            if image.id % 5 == 0 and image.extra.get("all80", True)
        }

    def names(self, count: int) -> list[str]:
        return list(self._pictures)[:count]

    def pictures(self, name: str) -> list[Path]:
        return [self._images / self._pictures[name].file_name]

    def truth(self, name: str, index: int) -> np.ndarray:
        assert index == 0
        image = self._pictures[name]
        own = [a for a in self._dataset.annotations if a.image_id == image.id and not a.iscrowd]
        masks = [rle.decode(annotation.mask).astype(bool) for annotation in own]
        large = [mask for mask in masks if mask.mean() >= SLIVER]
        return np.stack(large) if large else np.zeros((0, image.height, image.width), dtype=bool)


Source = Davis | Ytvis | Stills
OFF = 0.1
"""A mask of which less than this share is inside marked objects lies off them."""


def add_source(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--davis", type=Path, help="folder with JPEGImages/ and Annotations/")
    group.add_argument("--ytvis", type=Path, help="YouTube-VIS file with JPEGImages/ beside it")
    group.add_argument("--stills", type=Path, help="COCO file, its held-out pictures as videos of one frame")
    parser.add_argument("--images", type=Path, help="pictures of --stills")


def source_of(arguments: argparse.Namespace) -> Source:
    if arguments.stills is not None:
        return Stills(arguments.stills, arguments.images or arguments.stills.parent / "images")
    return Davis(arguments.davis) if arguments.davis is not None else Ytvis(arguments.ytvis)


def mining_clip(source: Source, name: str, frames: int, step: int) -> Clip:
    """The first ``frames`` frames, one in ``step``."""
    return _clip(source, name, list(range(len(source.pictures(name))))[: frames * step : step])


def held_out_clip(source: Source, name: str) -> Clip:
    """Two late frames of the video, at 4/5 of it and the last."""
    length = len(source.pictures(name))
    return _clip(source, name, [length * 4 // 5, length - 1])


def _clip(source: Source, name: str, indices: list[int]) -> Clip:
    pictures = source.pictures(name)
    return Clip(name, [pictures[i] for i in indices], [source.truth(name, i) for i in indices])


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


class Cached:
    """A proposer and background estimator that gives back what it was given for the present frame."""

    def propose(self, _rgb):
        return self.answer

    def background(self, _rgb):
        return self.probability


def proposals(
    clip: Clip, cache: Path, make: Callable, *, mirrored: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(masks, scores) of every frame or of its mirror image, the best 40; from the cache where it has them."""
    path = cache / f"{clip.name}{'.mirrored' if mirrored else ''}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    missing = [picture for picture in clip.pictures if picture.stem not in known]
    if missing:
        proposer = make()
        for picture in missing:
            rgb = read(picture)
            masks, scores = proposer.propose(np.ascontiguousarray(rgb[:, ::-1]) if mirrored else rgb)
            masks = masks[:, :, ::-1] if mirrored else masks
            order = np.argsort(-scores, kind="stable")[:40]
            codes = rle.encode_many(np.ascontiguousarray(masks[order]))
            known[picture.stem] = {"counts": [code["counts"] for code in codes], "scores": scores[order].tolist()}
        path.write_text(json.dumps(known))
    found = []
    for picture, truth in zip(clip.pictures, clip.truths, strict=True):
        record, size = known[picture.stem], list(truth.shape[1:])
        masks = rle.decode_many([{"size": size, "counts": counts} for counts in record["counts"]])
        found.append((masks.reshape(-1, *size), np.array(record["scores"])))
    return found


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


class Tally:
    """Kept masks against the truth over all frames."""

    def __init__(self) -> None:
        self.kept = self.right = self.objects = self.frames = self.off = 0
        self.unions: list[float] = []

    def add(self, masks: np.ndarray, truths: np.ndarray) -> None:
        """Masks [m, H, W] against truths [n, H, W], which do not overlap: no mask can be right twice."""
        self.kept += len(masks)
        self.frames += 1
        self.objects += len(truths)
        marked = truths.any(axis=0)
        self.off += sum(bool((mask & marked).sum() < OFF * mask.sum()) for mask in masks)
        self.right += sum(any(iou(mask, truth) >= 0.5 for mask in masks) for truth in truths)
        if len(truths):
            self.unions.append(iou(masks.any(axis=0), truths.any(axis=0)) if len(masks) else 0.0)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(self.kept + self.objects, 1)

    @property
    def marked_f1(self) -> float:
        """F1 without the kept masks that lie off every marked object."""
        return 2 * self.right / max(self.kept - self.off + self.objects, 1)

    def line(self, name: str) -> str:
        precision, recall = self.right / max(self.kept, 1), self.right / max(self.objects, 1)
        return (
            f"{name:<28} precision {precision:.3f}  recall {recall:.3f}  F1 {self.f1:.3f}  "
            f"F1 on the marked {self.marked_f1:.3f}  masks/frame {self.kept / max(self.frames, 1):.2f}  "
            f"union IoU {np.mean(self.unions):.3f}"
        )
