"""Where one shot ends and the next begins: a sudden change of colours that the frames before did not show."""

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.media.frame_source import RgbImage

_BINS = 64
_BLUR = 13  # bins, of 4 grey levels each
_LEAST_CHANGE = 0.25
_OVER_USUAL = 4.0
_MEMORY = 0.8


class CutDetector:
    """Feed it the frames in order; ``starts_shot`` says where a new shot begins.

    The change is half the L1 distance of blurred colour histograms, in [0, 1]. A cut changes at least a quarter of the
    colours and several times more than the frames just before it did, so that steady fast motion and flicker are no
    cuts. Slow dissolves are not found.
    """

    def __init__(self) -> None:
        self._before: npt.NDArray[np.float32] | None = None
        self._usual = 0.0

    def starts_shot(self, rgb: RgbImage) -> bool:
        """Whether ``rgb``, uint8 [H, W, 3], begins a shot; the first frame does."""
        histogram = _colours(rgb)
        if self._before is None:
            self._before = histogram
            return True
        change = 0.5 * float(np.abs(histogram - self._before).sum())
        self._before = histogram
        if change > _LEAST_CHANGE and change > _OVER_USUAL * self._usual:
            self._usual = 0.0
            return True
        self._usual = _MEMORY * self._usual + (1 - _MEMORY) * change
        return False


def _colours(rgb: RgbImage) -> npt.NDArray[np.float32]:
    """Blurred histograms of the channels, [3 * _BINS], sum 1."""
    small = cv2.resize(rgb, (64, 36), interpolation=cv2.INTER_AREA)
    counts = np.stack([np.bincount(channel.ravel() >> 2, minlength=_BINS) for channel in np.moveaxis(small, -1, 0)])
    # Blurred, or a small change of brightness would move an even area from one bin to the next.
    blurred = cv2.blur(counts.astype(np.float32), (_BLUR, 1), borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred.ravel() / blurred.sum(), np.float32)
