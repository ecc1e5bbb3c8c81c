"""Boxes with class names from any YOLO-like detector in an ONNX file.

Three output layouts are known, told apart by shape:

- ``yolox`` [1, N, 5 + K]: one place per cell of the grids of stride 8, 16 and 32, as (x and y offsets, log width and
  height in strides, objectness, classes), probabilities already;
- ``yolov5`` [1, 3 N, 5 + K]: (centre x, y, width, height in pixels, objectness, classes);
- ``yolov8`` [1, 4 + K, N]: (centre x, y, width, height in pixels, classes).

YOLOX takes BGR in 0..255, the others RGB in 0..1; pictures are letterboxed at the top left with grey 114.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import CheckpointError, ConfigError

Layout: TypeAlias = Literal["yolox", "yolov5", "yolov8"]
Floats: TypeAlias = npt.NDArray[np.float32]

STRIDES = (8, 16, 32)
SAME_CLASS, ANY_CLASS = 0.55, 0.8  # IoU from which a box doubles a better one of its class, of any class


@dataclass(frozen=True)
class Boxes:
    """``corners`` float32 [n, 4] (x0, y0, x1, y1 in pixels), ``scores`` [n] in [0, 1] falling, ``labels`` int64 [n]."""

    corners: Floats
    scores: Floats
    labels: npt.NDArray[np.int64]


class OnnxDetector:
    """A detector that onnxruntime runs on the CPU.

    Args:
        path: the ONNX file; one input [1, 3, H, W] of fixed size.
        layout: of its output; None = by shape.
        threads: of onnxruntime; 0 = its own choice.

    Raises:
        ConfigError: onnxruntime is not installed.
        CheckpointError: not an ONNX file, or of another layout.
    """

    def __init__(self, path: str | Path, *, layout: Layout | None = None, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError("detectors in ONNX need onnxruntime: pip install 'fewmask[onnx]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path}: not a detector that onnxruntime can load ({reason})") from error
        takes = self._session.get_inputs()
        shape = takes[0].shape if takes else []
        if len(takes) != 1 or len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
            raise CheckpointError(f"{path}: its input is {shape}, not one picture [1, 3, H, W] of fixed size")
        self._input, self._size = takes[0].name, (int(shape[2]), int(shape[3]))
        gives = self._session.get_outputs()[0].shape
        found = _layout_of(gives, self._size) if layout is None else layout
        if found is None or len(gives) != 3:
            raise CheckpointError(
                f"{path}: output {gives} is none of yolox, yolov5 or yolov8 for an input {self._size}"
            )
        self._layout: Layout = found
        self.classes = int(gives[1]) - 4 if found == "yolov8" else int(gives[2]) - 5

    def detect(self, rgb: npt.NDArray[np.uint8], *, least_score: float = 0.1, most: int = 60) -> Boxes:
        """Boxes of a picture uint8 [H, W, 3] and of its mirror image: what both see counts fully, the rest by half."""
        width = rgb.shape[1]
        first = self._found(rgb, least_score / 2)
        mirrored = self._found(np.ascontiguousarray(rgb[:, ::-1]), least_score / 2)
        flipped = mirrored.corners[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        flipped = flipped + np.array([width, 0, width, 0], np.float32)
        return _thinned(_agreed(first, Boxes(flipped, mirrored.scores, mirrored.labels)), least_score, most)

    def _found(self, rgb: npt.NDArray[np.uint8], least_score: float) -> Boxes:
        height, width = rgb.shape[:2]
        scale = min(self._size[0] / height, self._size[1] / width)
        inner = (max(round(width * scale), 1), max(round(height * scale), 1))
        square = np.full((*self._size, 3), 114, np.uint8)
        square[: inner[1], : inner[0]] = cv2.resize(rgb, inner, interpolation=cv2.INTER_LINEAR)
        pixels: Floats = square.astype(np.float32)
        if self._layout == "yolox":
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        else:
            pixels /= 255
        output = self._session.run(None, {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})[0][0]
        centre, size, scores = self._decoded(np.asarray(output, np.float32))
        best, labels = scores.max(1), scores.argmax(1)
        keep = best > least_score
        corners = np.concatenate((centre - size / 2, centre + size / 2), 1)[keep] / scale
        corners[:, 0::2] = corners[:, 0::2].clip(0, width)
        corners[:, 1::2] = corners[:, 1::2].clip(0, height)
        return _thinned(Boxes(corners, best[keep], labels[keep]), least_score, len(best))

    def _decoded(self, output: Floats) -> tuple[Floats, Floats, Floats]:
        """Centres [N, 2] and sizes [N, 2] in input pixels, class scores [N, K]."""
        if self._layout == "yolov8":
            rows = output.T
            return rows[:, :2], rows[:, 2:4], rows[:, 4:]
        scores = output[:, 4:5] * output[:, 5:]
        if self._layout == "yolov5":
            return output[:, :2], output[:, 2:4], scores
        grids, strides = _grids(self._size)
        return (output[:, :2] + grids) * strides, np.exp(output[:, 2:4].clip(max=20)) * strides, scores


def _layout_of(shape: list[Any], size: tuple[int, int]) -> Layout | None:
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)
    if len(shape) != 3:
        return None
    if shape[2] == cells:
        return "yolov8"
    return {cells: "yolox", 3 * cells: "yolov5"}.get(shape[1])  # type: ignore[return-value]


def _grids(size: tuple[int, int]) -> tuple[Floats, Floats]:
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack((columns, rows), -1).reshape(-1, 2))
        strides.append(np.full((len(cells[-1]), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _agreed(first: Boxes, second: Boxes) -> Boxes:
    """Both views' boxes: pairs of one class that overlap by half become their weighted mean, others lose half."""
    overlap = box_iou(first.corners, second.corners) * (first.labels[:, None] == second.labels[None])
    corners, scores, labels = [], [], []
    used: set[int] = set()
    for box, row in enumerate(overlap):
        partner = int(row.argmax()) if len(row) else -1
        one, score = first.corners[box], first.scores[box]
        if partner >= 0 and row[partner] > 0.5 and partner not in used:
            used.add(partner)
            other = second.scores[partner]
            one = (one * score + second.corners[partner] * other) / (score + other)
            score = score + other
        corners.append(one)
        scores.append(score / 2)
        labels.append(first.labels[box])
    for box in range(len(second.scores)):
        if box not in used:
            corners.append(second.corners[box])
            scores.append(second.scores[box] / 2)
            labels.append(second.labels[box])
    return Boxes(np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64))


def _thinned(boxes: Boxes, least_score: float, most: int) -> Boxes:
    """The best boxes that double no better one, at least 3 pixels wide and high."""
    overlap = box_iou(boxes.corners, boxes.corners)
    limit = np.where(boxes.labels[:, None] == boxes.labels[None], SAME_CLASS, ANY_CLASS)
    kept: list[int] = []
    for box in np.argsort(-boxes.scores, kind="stable").tolist():
        if len(kept) == most or boxes.scores[box] < least_score:
            break
        sides = boxes.corners[box, 2:] - boxes.corners[box, :2]
        if sides.min() >= 3 and not (overlap[box, kept] > limit[box, kept]).any():
            kept.append(box)
    return Boxes(boxes.corners[kept], boxes.scores[kept], boxes.labels[kept])


def box_iou(first: Floats, second: Floats) -> Floats:
    """IoU [n, m] of boxes (x0, y0, x1, y1)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = (high - low).clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(-1) for boxes in (first, second)]
    iou: Floats = both / (areas[0][:, None] + areas[1][None] - both).clip(min=1e-6)
    return iou
