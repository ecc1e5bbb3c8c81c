"""The synthetic flow of a selection: analysis by synthesis (App. C, Fig. 12)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fewmask.mining.flow import Flow, FlowEstimator, RgbImage

BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FramePair:
    """Two consecutive frames, the flow measured between them, and the picture that composites are pasted onto.

    Attributes:
        rgb: frame t, uint8 [H, W, 3].
        following: frame t + 1, uint8 [H, W, 3].
        flow: F_t, float32 [H, W, 2], pixels.
        canvas: uint8 [H, W, 3], the same for all pairs of a video.
    """

    rgb: RgbImage
    following: RgbImage
    flow: Flow
    canvas: RgbImage


def synthetic_flow(pair: FramePair, selected: BoolMask, following_selected: BoolMask, estimate: FlowEstimator) -> Flow:
    """The flow that the selected masks of two frames explain (App. C), float32 [H, W, 2].

    The pixels of the masks selected in each frame are pasted onto one canvas and the flow between the two pictures is
    kept inside the masks selected at t; everywhere else it is the mean measured flow of the background.

    Args:
        pair: the frames.
        selected: union of the masks selected at t, bool [H, W].
        following_selected: union of the masks selected at t + 1, bool [H, W].
        estimate: the flow estimator g.
    """
    result = np.broadcast_to(background_flow(pair.flow, selected), pair.flow.shape).astype(np.float32)
    if selected.any():
        result[selected] = composite_flow(pair, selected, following_selected, estimate)[selected]
    return result


def composite_flow(pair: FramePair, selected: BoolMask, following_selected: BoolMask, estimate: FlowEstimator) -> Flow:
    """Flow between the two composites, over the whole picture."""
    return estimate(
        composite(pair.rgb, selected, pair.canvas), composite(pair.following, following_selected, pair.canvas)
    )


def composite(rgb: RgbImage, selected: BoolMask, canvas: RgbImage) -> RgbImage:
    """The selected pixels of a frame on the canvas."""
    return np.where(selected[..., None], rgb, canvas)


def background_flow(flow: Flow, selected: BoolMask) -> npt.NDArray[np.float64]:
    """Mean of F_t over the pixels outside the selected masks, (x, y); over all pixels when they cover everything.

    Section 3 says "pixels that do not belong to any mask", Appendix C "the background"; both are read as *selected*
    masks, since only then does leaving out a moving object cost anything.
    """
    outside = ~selected
    pixels = flow[outside] if outside.any() else flow.reshape(-1, 2)
    mean: npt.NDArray[np.float64] = pixels.mean(axis=0, dtype=np.float64)
    return mean


@lru_cache(maxsize=4)
def natural_canvas(height: int, width: int) -> RgbImage:
    """The default canvas, uint8 [H, W, 3]: seeded colour noise with the 1/f spectrum of natural images.

    The paper takes a random picture from the Internet, so that dark and bright objects both stand out. Noise of the
    same spectrum does that too, and belongs to nobody.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    amplitude[0, 0] = 0
    channels = []
    for _ in range(3):
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        channel = np.fft.irfft2(amplitude * phase, s=(height, width))
        channels.append(127.5 + 45 * channel / max(float(channel.std()), 1e-12))
    canvas = np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)
    canvas.flags.writeable = False
    return canvas
