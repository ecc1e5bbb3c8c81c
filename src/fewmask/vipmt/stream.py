"""VIPMT on a stream of frames, clip by clip, with bounded memory."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fewmask.media import rle
from fewmask.media.frame_source import Frame
from fewmask.media.results import FrameResult
from fewmask.vipmt.backbone import FrameFeatures
from fewmask.vipmt.exemplars import Exemplars
from fewmask.vipmt.instances import InstanceLinker
from fewmask.vipmt.letterbox import Letterbox, normalise
from fewmask.vipmt.memory import ReliableMemory
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.support import SupportPicture, SupportSet

ENCODE_AT_ONCE = 5
NOT_THIS = "not this"


@dataclass(frozen=True)
class FittedSupport:
    """Supports encoded once: class name -> exemplars; ``negatives`` compete with the classes and win nothing."""

    classes: dict[str, Exemplars]
    negatives: Exemplars | None


@torch.inference_mode()
def fit_support(network: VIPMTNetwork, support: SupportSet) -> FittedSupport:
    """Encode every picture of ``support``, a few at a time."""
    classes = {name: _encode_pictures(network, pictures) for name, pictures in support.classes.items()}
    return FittedSupport(classes, _encode_pictures(network, support.negatives) if support.negatives else None)


def _encode_pictures(network: VIPMTNetwork, pictures: Sequence[SupportPicture]) -> Exemplars:
    size = network.config.input_size
    parts = []
    for start in range(0, len(pictures), ENCODE_AT_ONCE):
        some = pictures[start : start + ENCODE_AT_ONCE]
        boxes = [Letterbox.fit(picture.mask.shape, size) for picture in some]
        images = np.stack([box.image(picture.rgb) for box, picture in zip(boxes, some, strict=True)])
        masks = np.stack([box.mask(picture.mask) for box, picture in zip(boxes, some, strict=True)])
        parts.append(network.exemplars(network.encode(normalise(images)), torch.from_numpy(masks)))
    return Exemplars.join(parts)


@dataclass(frozen=True)
class _Origin:
    """Where a remembered frame came from: its clip's frame indices, and its mask at the network's size."""

    clip: tuple[int, ...]
    mask: rle.Rle


class ClipStream:
    """Segments consecutive clips of one video; ``step`` is the one verb.

    Each class is segmented with its own supports and its own reliable memory, on backbone features that are computed
    once per frame. Where several classes (or what must not be found) claim a pixel, the largest logit margin over the
    background wins; with one class and no negatives that is the paper's argmax.
    """

    def __init__(
        self, network: VIPMTNetwork, support: FittedSupport, *, seed: int = 0, instances: bool = False
    ) -> None:
        self.network = network
        self.support = support
        self.class_names = tuple(support.classes)
        self._everything = dict(support.classes)
        if support.negatives is not None:
            self._everything[NOT_THIS] = support.negatives
        self._memory = {name: ReliableMemory(seed, name) for name in self._everything}
        self._origins: dict[str, dict[int, _Origin]] = {name: {} for name in self._everything}
        self._clip = 0
        self._linkers = [InstanceLinker(len(self.class_names), offset) for offset in range(len(self.class_names))]
        self._instances = instances

    @torch.inference_mode()
    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Segment the next clip (``config.clip_length`` frames; the last clip of a video may be shorter)."""
        config = self.network.config
        box = _letterbox(frames, self.network)
        features = self._encode(frames)
        margins, scores = [], []
        for name, exemplars in self._everything.items():
            memory = self._memory[name].recall(self._clip, config.memory_length)
            result = self.network.segment(features, config.input_size, exemplars, memory)
            margins.append(result.logits[:, 1] - result.logits[:, 0])
            scores.append(result.iou_scores)
        winner = _winner(torch.stack(margins))  # [T, H, W], -1 = background
        for number, name in enumerate(self._everything):
            reliable = [t for t in range(len(frames)) if scores[number][t] >= config.memory_threshold]
            self._remember(name, frames, features, {t: winner[t] == number for t in reliable})
        self._clip += 1
        restored = torch.stack([box.restore(margin) for margin in margins])
        masks = _winner(restored).cpu().numpy()
        table = torch.stack(scores).float().cpu().numpy()
        return [self._frame_result(frame, masks[t], table[:, t]) for t, frame in enumerate(frames)]

    def state(self) -> dict[str, Any]:
        """What going on after the last clip needs, as plain JSON values: masks and places of remembered frames."""
        return {
            "clip": self._clip,
            "memory": {
                name: {
                    "seen": memory.seen,
                    "frames": [
                        {"frame": index, "clip": list(origin.clip), "mask": origin.mask}
                        for index in memory.frames
                        for origin in [self._origins[name][index]]
                    ],
                }
                for name, memory in self._memory.items()
            },
            "linkers": [linker.state() for linker in self._linkers],
        }

    @torch.inference_mode()
    def restore(self, state: dict[str, Any], reread: Callable[[Collection[int]], Iterable[Frame]]) -> None:
        """Go on from the `state` of a stream with the same network, supports and seed.

        Args:
            reread: gives frames of the video once more, in order. Each remembered frame is encoded again among the
                frames of its clip, so that the same numbers come out.
        """
        self._clip = state["clip"]
        for linker, stored in zip(self._linkers, state["linkers"], strict=True):
            linker.restore(stored)
        remembered = {
            name: {entry["frame"]: _Origin(tuple(entry["clip"]), entry["mask"]) for entry in memory["frames"]}
            for name, memory in state["memory"].items()
        }
        clips = {origin.clip for origins in remembered.values() for origin in origins.values()}
        encoded: dict[str, dict[int, Exemplars]] = {name: {} for name in remembered}
        waiting: list[Frame] = []
        last_of = {clip[-1]: clip for clip in clips}
        for frame in reread({index for clip in clips for index in clip}):
            waiting.append(frame)
            if frame.index not in last_of:
                continue
            clip = last_of[frame.index]
            features = self._encode(waiting)
            for name, origins in remembered.items():
                for t, index in enumerate(clip):
                    if index in origins and origins[index].clip == clip:
                        mask = torch.from_numpy(rle.decode(origins[index].mask))
                        encoded[name][index] = self.network.exemplars(features.take([t]), mask[None])
            waiting = []
        for name, origins in remembered.items():
            ordered = {index: encoded[name][index] for index in origins}
            self._memory[name].restore(ordered, state["memory"][name]["seen"])
        self._origins = remembered

    def _encode(self, frames: Sequence[Frame]) -> FrameFeatures:
        box = _letterbox(frames, self.network)
        return self.network.encode(normalise(np.stack([box.image(frame.rgb) for frame in frames])))

    def _remember(self, name: str, frames: Sequence[Frame], features: FrameFeatures, masks: dict[int, Tensor]) -> None:
        memory, origins = self._memory[name], self._origins[name]
        clip = tuple(frame.index for frame in frames)
        for t, mask in masks.items():
            # an empty mask would be repaired to a centre block and remember whatever happens to be there
            if mask.any():
                memory.add(clip[t], self.network.exemplars(features.take([t]), mask[None]))
                origins[clip[t]] = _Origin(clip, rle.encode(mask.cpu().numpy()))
        self._origins[name] = {index: origins[index] for index in memory.frames}

    def _frame_result(self, frame: Frame, winner: npt.NDArray[Any], scores: npt.NDArray[Any]) -> FrameResult:
        track_ids: list[int] = []
        categories: list[int] = []
        confidences: list[float] = []
        masks: list[rle.Rle | None] = []
        for number in range(len(self.class_names)):
            mask = winner == number
            parts = self._linkers[number].step(mask) if self._instances else [(number + 1, mask)]
            for track_id, part in parts:
                track_ids.append(track_id)
                categories.append(number + 1)
                confidences.append(float(scores[number]))
                masks.append(rle.encode(part) if part.any() else None)
        size = (int(winner.shape[0]), int(winner.shape[1]))
        return FrameResult(
            frame.index, size, tuple(track_ids), tuple(categories), tuple(confidences), tuple(masks), frame.time_s
        )


def _letterbox(frames: Sequence[Frame], network: VIPMTNetwork) -> Letterbox:
    height, width = frames[0].rgb.shape[:2]
    return Letterbox.fit((height, width), network.config.input_size)


def _winner(margins: Tensor) -> Tensor:
    """Margins [N, T, H, W] over the background -> number of the winning class [T, H, W], -1 = background."""
    best, winner = margins.max(0)
    return torch.where(best > 0, winner, -1)
