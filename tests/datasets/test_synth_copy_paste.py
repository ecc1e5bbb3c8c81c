import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synth_scene import COLOURS, NAMES, write_scene

from fewmask.datasets.canvas import Canvas, CutOut, paste, resized
from fewmask.datasets.coco import read_coco
from fewmask.datasets.copy_paste import cut_out_of, in_part, load_cut_outs
from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle

SIDE = 7
LAYERS = arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(SIDE), st.just(SIDE), st.just(4)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return read_coco(write_scene(tmp_path_factory.mktemp("scene")))


@given(LAYERS, arrays(np.uint8, (SIDE, SIDE, 3)))
def test_layers_are_composed_as_pixel_by_pixel_arithmetic_says(layers, background):
    canvas = Canvas(SIDE, SIDE)
    laid = [canvas.lay(0, 0, layer) for layer in layers]
    picture = canvas.over(background)
    for y in range(SIDE):
        for x in range(SIDE):
            light, left = [0, 0, 0], 255
            for layer, pasted in zip(layers.tolist(), laid, strict=True):
                *colour, alpha = layer[y][x]
                takes = (2 * alpha * left + 255) // 510  # round half up of alpha * left / 255
                assert pasted.visible[y, x] == takes
                light = [sum_ + takes * value for sum_, value in zip(light, colour, strict=True)]
                left -= takes
            assert canvas.transmittance[y, x] == left
            whole = [sum_ + left * int(value) for sum_, value in zip(light, background[y, x], strict=True)]
            assert picture[y, x].tolist() == [(2 * value + 255) // 510 for value in whole]


@given(LAYERS)
def test_masks_never_overlap(layers):
    canvas = Canvas(SIDE, SIDE)
    masks = np.stack([canvas.lay(0, 0, layer).mask for layer in layers])
    assert masks.sum(0).max() <= 1
    assert not (masks.any(0) & (canvas.transmittance >= 128)).any()


def test_hidden_share_counts_pixels():
    canvas = Canvas(4, 4)
    front, back = np.zeros((4, 4, 4), np.uint8), np.full((4, 4, 4), 255, np.uint8)
    front[:, :1, 3] = 255
    assert canvas.lay(0, 0, front).hidden_share == 0
    assert canvas.lay(0, 0, back).hidden_share == pytest.approx(0.25)
    assert canvas.lay(0, 0, back).hidden_share == 1
    assert np.isnan(canvas.lay(0, 0, np.zeros((4, 4, 4), np.uint8)).hidden_share)


def disc(side: int = 41) -> CutOut:
    y, x = np.mgrid[:side, :side] - side // 2
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[..., 0] = np.arange(side) * 5
    rgba[..., 3] = 255 * (x**2 + y**2 < (side // 2 - 3) ** 2)
    return CutOut(rgba, 1, 1)


def test_a_shift_by_whole_pixels_copies_the_cut_out():
    canvas, cut_out = Canvas(60, 80), disc()
    pasted = paste(canvas, cut_out, np.array([[1, 0, 30], [0, 1, 11], [0, 0, 1.0]]))
    alpha = np.zeros((60, 80), np.uint8)
    alpha[pasted.window] = pasted.alpha
    expected = np.zeros_like(alpha)
    expected[11:52, 30:71] = cut_out.rgba[..., 3]
    np.testing.assert_array_equal(alpha, expected)
    picture = canvas.over(np.zeros((60, 80, 3), np.uint8))
    inside = expected > 0
    np.testing.assert_array_equal(picture[inside], np.pad(cut_out.rgba[..., :3], ((11, 8), (30, 9), (0, 0)))[inside])


@pytest.mark.parametrize("left", [-100, 200])
def test_an_object_beyond_the_canvas_leaves_no_trace(left):
    canvas = Canvas(60, 80)
    assert paste(canvas, disc(), np.array([[1, 0, left], [0, 1, 0], [0, 0, 1.0]])) is None
    assert (canvas.transmittance == 255).all()


def test_a_bent_perspective_warp_shows_the_right_points():
    """Against the definition, evaluated at every pixel."""
    cut_out = disc()
    cut_out.rgba[..., 3] = np.clip(200 - 11 * np.hypot(*(np.mgrid[:41, :41] - 20.0)), 0, 255)
    transform = np.array([[1.2, 0.3, 12], [-0.25, 1.1, 25], [0.002, -0.001, 1]])
    waves = np.array([[1.5, 0, 0, 0.2, 0.4], [0, 1.0, 0.15, 0.05, 1.0]])
    canvas = Canvas(90, 100)
    pasted = paste(canvas, cut_out, transform, waves=waves)
    alpha = np.zeros((90, 100), np.uint8)
    alpha[pasted.window] = pasted.alpha
    y, x = np.mgrid[:90, :100].astype(float)
    points = np.einsum("ij,jhw->ihw", np.linalg.inv(transform), np.stack([x, y, np.ones_like(x)]))
    u, v = points[0] / points[2], points[1] / points[2]
    bend = [dx * np.sin(kx * u + ky * v + phase) for dx, _, kx, ky, phase in waves]
    lift = [dy * np.sin(kx * u + ky * v + phase) for _, dy, kx, ky, phase in waves]
    u, v = u + sum(bend), v + sum(lift)
    expected = np.clip(200 - 11 * np.hypot(u - 20, v - 20), 0, 255)
    expected[(abs(u - 20) > 20) | (abs(v - 20) > 20)] = 0
    assert expected.max() > 180
    assert abs(alpha - expected).max() < 6  # 11 levels per pixel of the cut-out
    assert abs(alpha - expected).mean() < 0.5


def test_blur_is_along_the_motion_and_keeps_the_light():
    sharp, blurred = Canvas(60, 80), Canvas(60, 80)
    transform = np.array([[1, 0, 20], [0, 1, 10], [0, 0, 1.0]])
    still = paste(sharp, disc(), transform)
    moving = paste(blurred, disc(), transform, blur=(9, 0))
    assert moving.alpha.sum(dtype=int) == pytest.approx(still.alpha.sum(dtype=int), rel=0.01)
    rows = np.flatnonzero(moving.alpha.any(1)) + moving.top
    columns = np.flatnonzero(moving.alpha.any(0)) + moving.left
    assert (rows[0], rows[-1]) == (14, 46)
    assert columns[0] < 22 < columns[-1]


def test_impossible_transforms_are_refused():
    with pytest.raises(ConfigError, match="inverted"):
        paste(Canvas(50, 50), disc(), np.array([[0, 0, 9], [0, 0, 9], [0, 0, 1.0]]))
    with pytest.raises(ConfigError, match="behind"):
        paste(Canvas(50, 50), disc(), np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1.0]]))


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.7])
def test_resized_keeps_shape_and_a_transparent_border(scale):
    cut_out = resized(disc(), scale, feather=0.7)
    alpha = cut_out.rgba[..., 3]
    assert not alpha[[0, -1]].any()
    assert not alpha[:, [0, -1]].any()
    area = (disc().rgba[..., 3] > 0).sum() * scale**2
    assert (alpha >= 128).sum() == pytest.approx(area, rel=0.1, abs=8)


def test_cut_outs_have_their_own_colours_only(dataset):
    """Not a grey background pixel may come along, not even beyond the mask."""
    cut_outs = load_cut_outs(dataset, min_side=10)
    assert set(cut_outs.category_ids) == set(NAMES)
    for cut_out, category, annotation in zip(cut_outs, cut_outs.category_ids, cut_outs.annotation_ids, strict=True):
        assert (cut_out.category_id, cut_out.annotation_id) == (category, annotation)
        assert (cut_out.rgba[..., :3] == COLOURS[category]).all()
        source = next(a for a in dataset.annotations if a.id == annotation)
        assert np.count_nonzero(cut_out.rgba[..., 3]) == rle.area(source.mask)
        assert not source.iscrowd


def test_only_whole_objects_unless_there_are_few(tmp_path):
    path = write_scene(tmp_path, images=12)
    dataset = read_coco(path)
    edge = [a for a in dataset.annotations if a.category_id == 1 and not a.iscrowd][:3]
    for annotation in edge:  # shift three discs out of the picture on the left
        shift = annotation.bbox[0] + 5
        annotation.segmentation[0][0::2] = [x - shift for x in annotation.segmentation[0][0::2]]
        object.__setattr__(annotation, "bbox", (0.0, *annotation.bbox[1:]))
    ids = load_cut_outs(dataset, min_side=10).annotation_ids
    assert not {a.id for a in edge} & set(ids)
    few = [a for a in dataset.annotations if a.category_id != 1] + edge
    object.__setattr__(dataset, "annotations", tuple(few))
    assert {a.id for a in edge} <= set(load_cut_outs(dataset, min_side=10).annotation_ids)


def test_objects_that_lean_on_others_are_left_out(tmp_path):
    dataset = read_coco(write_scene(tmp_path, images=12))
    boxes = [a for a in dataset.annotations if a.category_id == 2]
    disc_there = next(a for a in dataset.annotations if a.image_id == boxes[0].image_id and a.category_id == 1)
    object.__setattr__(disc_there, "segmentation", boxes[0].segmentation)
    object.__setattr__(disc_there, "bbox", boxes[0].bbox)
    chosen = load_cut_outs(dataset, min_side=10).annotation_ids
    assert boxes[0].id not in chosen
    assert {a.id for a in boxes[1:]} <= set(chosen)


def test_sizes_classes_and_parts_choose(dataset):
    assert set(load_cut_outs(dataset, min_side=10, categories={2}).category_ids) == {2}
    with pytest.raises(DatasetError, match="whole and at least 500"):
        load_cut_outs(dataset, min_side=500)
    parts = [[i for i in range(1000) if in_part(i, part)] for part in ("all", "train", "val")]
    assert sorted(parts[1] + parts[2]) == parts[0]
    assert 150 < len(parts[2]) < 250


def test_wrong_pictures_are_named(dataset, tmp_path):
    image = dataset.images[0]
    path = dataset.path_of(image)
    path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        dataset.read(image)
    cv2.imwrite(str(path), np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"is 5x6 \(height x width\), image 1 says 90x120"):
        dataset.read(image)


def test_an_empty_mask_cannot_be_cut_out(dataset):
    annotation = dataset.annotations[0]
    empty = type(annotation)(99, 1, 1, rle.empty(90, 120), (90, 120))
    with pytest.raises(DatasetError, match="annotation 99 has an empty mask"):
        cut_out_of(np.zeros((90, 120, 3), np.uint8), empty)
