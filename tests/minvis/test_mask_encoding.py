"""The cropped encoder against resizing the whole masks twice."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.media import rle
from fewmask.minvis.frame_instances import resize_logits
from fewmask.minvis.mask_encoding import MaskEncoder


@given(
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.floats(0.3, 1.0),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.floats(-2.0, 1.0),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_equals_resizing_whole_masks_twice(low, share, output, offset, seed):
    padded = (low[0] * 4, low[1] * 4)
    image = (max(1, int(padded[0] * share)), max(1, int(padded[1] * share)))
    logits = (np.random.default_rng(seed).standard_normal((6, *low)) + offset).astype(np.float32)
    logits[0] = -1
    found = MaskEncoder(low, padded, image, output).encode(logits)
    whole = resize_logits(torch.from_numpy(logits), padded, image, output).numpy()
    assert found[0] is None
    for mask, expected in zip(found, whole, strict=True):
        bitmap = np.zeros(output, dtype=bool) if mask is None else rle.decode(mask)
        assert not ((bitmap != (expected > 0)) & (np.abs(expected) > 1e-4)).any()
        assert mask is None or bitmap.any()


def test_no_query_has_a_pixel():
    """What a frame without anything leaves to resize: nothing, at the right size."""
    assert resize_logits(torch.zeros(0, 4, 6), (16, 24), (14, 20), (9, 11)).shape == (0, 9, 11)
