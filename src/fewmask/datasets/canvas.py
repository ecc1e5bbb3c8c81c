"""A canvas on which cut-out objects are laid front to back.

The arithmetic is whole-number and loses nothing: every pixel starts with a transmittance of 255, each pasted object
takes ``round(alpha * transmittance / 255)`` of it, the background gets what is left. The visible alphas and the
background's share therefore sum to 255 exactly, and at most one object has 128 or more: masks thresholded at half the
range are disjoint by construction, whatever the blending at the edges.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.synth_warp import ByteImage, Floats, warp

OPAQUE_FROM = 128
"""A pixel belongs to an object where its visible alpha is at least this (of 255): half or more of the light."""
MARGIN = 3  # transparent pixels kept around a cut-out, so that interpolation at its edge finds alpha 0


@dataclass(frozen=True)
class CutOut:
    """An object cut out of an image.

    ``rgba`` is uint8 [h, w, 4], red first, with straight (not premultiplied) alpha: 255 inside the mask, 0 outside,
    0 on the outermost pixels. Colours continue beyond the mask, so that blending never mixes in the old background.
    """

    rgba: ByteImage
    category_id: int
    annotation_id: int


@dataclass(frozen=True)
class Pasted:
    """Where an object came to lie: ``alpha`` is its own, ``visible`` what objects in front leave of it (uint8 [h, w]).

    The arrays cover the canvas from (``top``, ``left``); elsewhere the object is absent.
    """

    top: int
    left: int
    alpha: ByteImage
    visible: ByteImage

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The exact visible region, bool [h, w]."""
        return self.visible >= OPAQUE_FROM

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the arrays cover."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def hidden_share(self) -> float:
        """Share in [0, 1] of the object's pixels inside the canvas that others hide; nan where it has none."""
        whole = int(np.count_nonzero(self.alpha >= OPAQUE_FROM))
        return 1.0 - int(np.count_nonzero(self.mask)) / whole if whole else float("nan")


class Canvas:
    """A picture in the making, filled from the front to the back.

    ``transmittance`` uint8 [H, W] is how much of what lies behind still shows (255 = all of it).
    """

    def __init__(self, height: int, width: int) -> None:
        self.transmittance: ByteImage = np.full((height, width), 255, np.uint8)
        self._light = np.zeros((height, width, 3), np.uint16)

    def lay(self, top: int, left: int, rgba: ByteImage) -> Pasted:
        """Lay ``rgba`` [h, w, 4] behind everything laid so far; it must fit inside the canvas."""
        height, width = rgba.shape[:2]
        window = slice(top, top + height), slice(left, left + width)
        pasted = cover(self.transmittance, top, left, np.ascontiguousarray(rgba[..., 3]))
        self._light[window] += pasted.visible[..., None] * rgba[..., :3].astype(np.uint16)
        return pasted

    def over(self, background: ByteImage) -> ByteImage:
        """The finished picture uint8 [H, W, 3] with ``background`` [H, W, 3] behind all objects."""
        light = background * self.transmittance[..., None].astype(np.uint16)
        light += self._light
        light += 127
        light //= 255
        return light.astype(np.uint8)


def cover(transmittance: ByteImage, top: int, left: int, alpha: ByteImage) -> Pasted:
    """Take the share of ``alpha`` [h, w] out of ``transmittance`` [H, W], in place."""
    height, width = alpha.shape
    behind = transmittance[top : top + height, left : left + width]
    visible = ((alpha.astype(np.uint16) * behind + 127) // 255).astype(np.uint8)
    behind -= visible
    return Pasted(top, left, alpha, visible)


def paste(
    canvas: Canvas,
    cut_out: CutOut,
    transform: Floats,
    *,
    waves: Floats | None = None,
    blur: tuple[float, float] = (0.0, 0.0),
) -> Pasted | None:
    """Lay a warped cut-out behind everything already on ``canvas``; None where it misses the canvas.

    Args:
        canvas: filled in place.
        cut_out: the object.
        transform: homography [3, 3] from the cut-out's pixels to the canvas (x right, y down, pixel centres whole).
        waves: elastic deformation [K, 5], each row (dx, dy, kx, ky, phase): the point (x, y) of the cut-out shows its
            neighbour at (x, y) + (dx, dy) · sin(kx·x + ky·y + phase). All in pixels of the cut-out and radians.
        blur: motion during the exposure (x, y) in pixels of the canvas; lengths below 1.5 are not blurred.

    Raises:
        ConfigError: the transform cannot be inverted, or turns a part of the object behind the camera.
    """
    warped = warp(cut_out.rgba, transform, canvas.transmittance.shape, waves=waves, blur=blur)
    return None if warped is None else canvas.lay(*warped)


def resized(cut_out: CutOut, scale: float, *, feather: float = 0.0) -> CutOut:
    """The cut-out at ``scale`` times its size, its edge softened by a Gaussian of ``feather`` pixels afterwards."""
    height, width = cut_out.rgba.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rgba = cv2.resize(cut_out.rgba, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    rgba = with_margin(rgba, MARGIN + int(np.ceil(2 * feather)))
    if feather > 0:
        rgba[..., 3] = cv2.GaussianBlur(rgba[..., 3], (0, 0), feather, borderType=cv2.BORDER_REPLICATE)
        clear_border(rgba)
    return replace(cut_out, rgba=rgba)


def with_margin(rgba: ByteImage, margin: int) -> ByteImage:
    """The picture with so many transparent pixels around it."""
    padded: ByteImage = cv2.copyMakeBorder(rgba, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    padded[:margin, :, 3] = padded[-margin:, :, 3] = 0
    padded[:, :margin, 3] = padded[:, -margin:, 3] = 0
    return padded


def clear_border(rgba: ByteImage) -> None:
    """Make the outermost pixels transparent, in place."""
    rgba[[0, -1], :, 3] = 0
    rgba[:, [0, -1], 3] = 0
