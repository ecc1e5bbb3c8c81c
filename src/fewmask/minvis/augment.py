"""Training views of a labelled frame: scale jitter, crop, turn, flip, colour, and pasted objects of other frames.

The paper resizes and flips only; scale jitter and copy-paste are for recipes with few pictures and switched on there.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.minvis.pixels import resized_size

Image = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledFrame:
    """An RGB frame uint8 [H, W, 3] with its visible instances: ``masks`` bool [n, H, W], ``labels`` int64 [n].

    ``unknown`` bool [H, W] marks where further objects may be that nobody labelled; None = nowhere.
    """

    rgb: Image
    masks: Masks
    labels: npt.NDArray[np.int64]
    unknown: Masks | None = None


@dataclass(frozen=True)
class Augmentation:
    """How strongly a view differs from its frame.

    Attributes:
        scale: range of the zoom relative to the frame just covering the view; below 1 leaves a border.
        turn: largest rotation in degrees.
        flip: chance of a mirror image.
        colour: largest relative change of brightness, contrast and saturation.
        paste: chance that objects of another frame are pasted in.
        paste_most: most objects pasted.
        least_area: an instance with fewer visible pixels is dropped.
        least_visible: an instance of which less than this share stays visible is dropped.
    """

    scale: tuple[float, float] = (0.6, 2.0)
    turn: float = 8.0
    flip: float = 0.5
    colour: float = 0.25
    paste: float = 0.6
    paste_most: int = 4
    least_area: int = 24
    least_visible: float = 0.2


def view(
    frame: LabelledFrame, size: tuple[int, int], settings: Augmentation, random: np.random.Generator
) -> LabelledFrame:
    """A random view [height, width] = ``size`` of the frame."""
    height, width = size
    source_height, source_width = frame.rgb.shape[:2]
    cover = max(height / source_height, width / source_width)
    zoom = cover * float(np.exp(random.uniform(*np.log(settings.scale))))
    angle = float(random.uniform(-settings.turn, settings.turn))
    mirror = -1.0 if random.random() < settings.flip else 1.0
    turn = cv2.getRotationMatrix2D((0.0, 0.0), angle, zoom) @ np.diag([mirror, 1.0, 1.0])
    # Centre of the view in the frame: anywhere for which the view stays inside, the middle where it cannot.
    slack_x = max(source_width - width / zoom, 0) / 2
    slack_y = max(source_height - height / zoom, 0) / 2
    centre = np.array([source_width / 2 + random.uniform(-slack_x, slack_x),
                       source_height / 2 + random.uniform(-slack_y, slack_y)])  # fmt: skip
    turn[:, 2] = np.array([width / 2, height / 2]) - turn[:, :2] @ centre
    rgb = cv2.warpAffine(frame.rgb, turn, (width, height), flags=cv2.INTER_LINEAR, borderValue=(124, 116, 104))
    masks = np.zeros((len(frame.masks), height, width), dtype=bool)
    for index, mask in enumerate(frame.masks):
        cv2.warpAffine(mask.view(np.uint8), turn, (width, height), masks[index].view(np.uint8), cv2.INTER_NEAREST)
    unknown = frame.unknown
    if unknown is not None:
        unknown = cv2.warpAffine(unknown.view(np.uint8), turn, (width, height), flags=cv2.INTER_NEAREST).astype(bool)
    # An object mostly outside the view is still an object there: only the area counts here.
    seen = LabelledFrame(np.asarray(rgb, dtype=np.uint8), masks, frame.labels, unknown)
    return _kept(seen, np.asarray(masks.any(axis=(1, 2))))


def whole_frame(
    frame: LabelledFrame, short_side: int, max_size: int, settings: Augmentation, random: np.random.Generator
) -> LabelledFrame:
    """The whole frame resized, perhaps mirrored: the official recipes' view (FACTS: short side of 360 or 480).

    Args:
        short_side: pixels of the shorter side.
        max_size: most pixels of the longer side, by a smaller scale if need be.
        settings: only ``flip`` counts.
    """
    height, width = resized_size(frame.rgb.shape[0], frame.rgb.shape[1], short_side, max_size)
    rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    masks = np.zeros((len(frame.masks), height, width), dtype=bool)
    for index, mask in enumerate(frame.masks):
        cv2.resize(mask.view(np.uint8), (width, height), masks[index].view(np.uint8), interpolation=cv2.INTER_NEAREST)
    unknown = frame.unknown
    if unknown is not None:
        unknown = cv2.resize(unknown.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    if random.random() < settings.flip:
        rgb, masks = np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(masks[:, :, ::-1])
        unknown = None if unknown is None else np.ascontiguousarray(unknown[:, ::-1])
    seen = LabelledFrame(np.asarray(rgb, dtype=np.uint8), masks, frame.labels, unknown)
    return _kept(seen, np.asarray(masks.any(axis=(1, 2))))


def paste(
    onto: LabelledFrame, other: LabelledFrame, settings: Augmentation, random: np.random.Generator
) -> LabelledFrame:
    """``onto`` with some objects of ``other`` (a view of the same size) pasted over it, edges blended."""
    if len(other.labels) == 0:
        return onto
    count = int(random.integers(1, settings.paste_most + 1))
    chosen = random.permutation(len(other.labels))[:count]
    added = other.masks[chosen]
    cover = added.any(axis=0)
    alpha = cv2.GaussianBlur(cover.astype(np.float32), (0, 0), float(random.uniform(0.5, 1.2)))[..., None]
    rgb = onto.rgb + alpha * (other.rgb.astype(np.float32) - onto.rgb)
    before = onto.masks.sum(axis=(1, 2))
    masks = onto.masks & ~cover
    visible = masks.sum(axis=(1, 2)) >= settings.least_visible * before
    return LabelledFrame(
        np.clip(rgb + 0.5, 0, 255).astype(np.uint8),
        np.concatenate((masks[visible], added)),
        np.concatenate((onto.labels[visible], other.labels[chosen])),
        None if onto.unknown is None else onto.unknown & ~cover,
    )


def recolour(rgb: Image, strength: float, random: np.random.Generator) -> Image:
    """Brightness, contrast and saturation changed by up to ``strength``."""
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, 3)
    pixels = rgb.astype(np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    pixels = grey[..., None] + saturation * (pixels - grey[..., None])
    mean = float(grey.mean())
    pixels = (mean + contrast * (pixels - mean)) * brightness
    changed: Image = np.clip(pixels, 0, 255).astype(np.uint8)
    return changed


def drop_small(frame: LabelledFrame, least_area: int) -> LabelledFrame:
    """The frame without instances of fewer than ``least_area`` visible pixels."""
    return _kept(frame, frame.masks.sum(axis=(1, 2)) >= least_area)


def _kept(frame: LabelledFrame, keep: npt.NDArray[np.bool_]) -> LabelledFrame:
    return replace(frame, masks=frame.masks[keep], labels=frame.labels[keep])
