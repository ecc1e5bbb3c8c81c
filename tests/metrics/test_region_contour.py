"""J and F: recorded figures, brute force, symmetry."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import arrays, expected, unpacked

import fewmask.metrics
from fewmask.errors import DatasetError
from fewmask.metrics.bit_rows import count, dilate, outline, pack, unpack
from fewmask.metrics.contour import contour_accuracy, tolerance_pixels
from fewmask.metrics.davis_unsupervised import regions_and_contours
from fewmask.metrics.region import region_similarity

PAIRS = expected("davis_jf")["pairs"]


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: f"{case['index']} {case['note']}")
def test_recorded_pairs(case: dict[str, Any]) -> None:
    stored = arrays("davis_jf", "pairs")
    index = case["index"]
    shape = stored[f"shape{index}"]
    gt, pred = unpacked(stored[f"gt{index}"], shape), unpacked(stored[f"pred{index}"], shape)
    void = unpacked(stored[f"void{index}"], shape) if f"void{index}" in stored else None
    assert fewmask.metrics.region_similarity(pred, gt, void=void) == pytest.approx(case["J"], abs=1e-9)
    assert fewmask.metrics.contour_accuracy(pred, gt, void=void) == pytest.approx(case["F"], abs=1e-9)
    assert tolerance_pixels(*shape) == case["tolerance_px"]
    if "J_vipmt" in case:
        assert region_similarity(pred, gt) == pytest.approx(case["J_vipmt"], abs=1e-6)
        assert contour_accuracy(pred, gt) == pytest.approx(case["F_vipmt"], abs=1e-9)


shapes = st.tuples(st.integers(1, 14), st.integers(1, 40))


@st.composite
def mask_pairs(draw: st.DrawFn, count: int = 2) -> list[Any]:
    height, width = draw(shapes)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = []
    for _ in range(count):
        noise = generator.random((height, width)) < draw(st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]))
        top, left = generator.integers(0, height), generator.integers(0, width)
        noise[top : top + draw(st.integers(0, 6)), left : left + draw(st.integers(0, 20))] ^= True
        masks.append(noise)
    return masks


def _outline_slowly(mask: Any) -> Any:
    """By the definition, pixel by pixel."""
    height, width = mask.shape
    pixels = mask.tolist()
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            down, right = min(y + 1, height - 1), min(x + 1, width - 1)
            neighbours = [pixels[y][right], pixels[down][x]]
            if down != y and right != x:
                neighbours.append(pixels[down][right])
            edge[y, x] = any(value != pixels[y][x] for value in neighbours)
    return edge


def _dilate_slowly(mask: Any, radius: int) -> Any:
    ys, xs = np.nonzero(mask)
    y, x = np.indices(mask.shape)[..., None]
    return ((ys - y) ** 2 + (xs - x) ** 2 <= radius**2).any(axis=-1)


@settings(max_examples=40, deadline=None)
@given(mask_pairs(count=1), st.integers(0, 9))
def test_bit_rows_agree_with_pixels(masks: list[Any], radius: int) -> None:
    (mask,) = masks
    width = mask.shape[1]
    words = pack(mask, radius)
    assert (unpack(words, width) == mask).all()
    assert count(words) == mask.sum()
    assert (unpack(outline(words, width), width) == _outline_slowly(mask)).all()
    assert (unpack(dilate(words, radius), width) == _dilate_slowly(mask, radius)).all()


@pytest.mark.parametrize("radius", [63, 64, 70, 130])
def test_large_radius(radius: int) -> None:
    mask = np.zeros((5, 300), dtype=bool)
    mask[3, 140] = mask[0, 10] = True
    assert (unpack(dilate(pack(mask, radius), radius), 300) == _dilate_slowly(mask, radius)).all()


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.sampled_from([0.008, 0.05, 1, 3]))
def test_contour_agrees_with_pixels(masks: list[Any], tolerance: float) -> None:
    pred, gt = masks
    radius = tolerance_pixels(*gt.shape, tolerance)
    edges = [_outline_slowly(mask) for mask in masks]
    sizes = [int(edge.sum()) for edge in edges]
    if 0 in sizes:
        wanted = float(sizes == [0, 0])
    else:
        precision = (edges[0] & _dilate_slowly(edges[1], radius)).sum() / sizes[0]
        recall = (edges[1] & _dilate_slowly(edges[0], radius)).sum() / sizes[1]
        wanted = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert contour_accuracy(pred, gt, tolerance=tolerance) == pytest.approx(wanted, abs=1e-12)
    assert contour_accuracy(gt, pred, tolerance=tolerance) == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(mask_pairs(count=3))
def test_matrix_agrees_with_pairs(masks: list[Any]) -> None:
    *masks, void = masks
    empty = np.zeros_like(void)
    J, F = regions_and_contours(masks, masks[:1], void)
    for r, row in enumerate([*masks, empty]):
        for c, column in enumerate([masks[0], empty]):
            assert J[r, c] == region_similarity(row, column, void=void)
            assert F[r, c] == pytest.approx(contour_accuracy(row, column, void=void), abs=1e-12)


def test_stacks_and_dtypes() -> None:
    generator = np.random.default_rng(0)
    pred, gt = generator.integers(0, 2, (2, 3, 9, 11))
    for metric in (region_similarity, contour_accuracy):
        single = [metric(p, g) for p, g in zip(pred, gt, strict=True)]
        assert np.asarray(metric(pred * 255, gt.astype(np.float32))).tolist() == single
        assert isinstance(single[0], float)
        assert metric(gt, gt).tolist() == [1.0] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 6), (4,), (0, 6)])
def test_shapes_must_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(DatasetError, match="shape"):
        region_similarity(np.zeros(shape), np.zeros((4, 6)) if shape == (4, 5) else np.zeros((*shape[:-1], 9)))
    with pytest.raises(DatasetError, match="shape"):
        contour_accuracy(np.zeros((0, 6)), np.zeros((0, 6)))


def test_not_numbers() -> None:
    with pytest.raises(DatasetError, match="dtype"):
        region_similarity(np.array([["a"]]), np.array([["a"]]))
