"""DAVIS videos whose masks are hidden from mining and used to score it: frames, cached proposals, right and wrong.

DAVIS 2016 merges all objects of a video into one mask, so at most one kept mask a frame is right.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fewmask.media import rle


@dataclass(frozen=True)
class Clip:
    """Some frames of a video: pictures, and what is right in each, bool [H, W]."""

    name: str
    pictures: list[Path]
    truths: list[np.ndarray]


def mining_clip(davis: Path, name: str, frames: int, step: int) -> Clip:
    """The first ``frames`` frames, one in ``step``."""
    return _clip(davis, name, _pictures(davis, name)[: frames * step : step])


def held_out_clip(davis: Path, name: str) -> Clip:
    """Two late frames of the video, at 4/5 of it and the last."""
    pictures = _pictures(davis, name)
    return _clip(davis, name, [pictures[len(pictures) * 4 // 5], pictures[-1]])


def names(davis: Path, count: int) -> list[str]:
    return [folder.name for folder in sorted((davis / "JPEGImages").iterdir())[:count]]


def _pictures(davis: Path, name: str) -> list[Path]:
    return sorted((davis / "JPEGImages" / name).glob("*.jpg"))


def _clip(davis: Path, name: str, pictures: list[Path]) -> Clip:
    labels = [davis / "Annotations" / name / f"{picture.stem}.png" for picture in pictures]
    return Clip(name, pictures, [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 for path in labels])


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
        record, size = known[picture.stem], list(truth.shape)
        masks = rle.decode_many([{"size": size, "counts": counts} for counts in record["counts"]])
        found.append((masks.reshape(-1, *size), np.array(record["scores"])))
    return found


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


class Tally:
    """Kept masks against the truth over all frames."""

    def __init__(self) -> None:
        self.kept = self.right = self.objects = 0
        self.unions: list[float] = []

    def add(self, masks: np.ndarray, truth: np.ndarray) -> None:
        self.kept += len(masks)
        if truth.any():
            self.objects += 1
            self.right += any(iou(mask, truth) >= 0.5 for mask in masks)
            self.unions.append(iou(masks.any(axis=0), truth) if len(masks) else 0.0)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(self.kept + self.objects, 1)

    def line(self, name: str) -> str:
        precision, recall = self.right / max(self.kept, 1), self.right / max(self.objects, 1)
        return (
            f"{name:<28} precision {precision:.3f}  recall {recall:.3f}  F1 {self.f1:.3f}  "
            f"masks/frame {self.kept / max(self.objects, 1):.2f}  union IoU {np.mean(self.unions):.3f}"
        )
