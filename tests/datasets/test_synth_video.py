from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline
from synth_scene import write_scene

from fewmask.datasets.coco import read_coco
from fewmask.datasets.copy_paste import load_cut_outs
from fewmask.datasets.synth_background import load_backgrounds
from fewmask.datasets.synth_config import SynthConfig
from fewmask.datasets.synth_motion import camera_path, object_paths, spline_weights
from fewmask.datasets.synth_video import plan_video, render, synthetic_video
from fewmask.datasets.synth_warp import warp
from fewmask.errors import ConfigError

SMALL = SynthConfig(frames=10, height=60, width=96, objects=(3, 5), object_size=(0.3, 0.6), photometric=0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return read_coco(write_scene(tmp_path_factory.mktemp("scene")))


@pytest.fixture(scope="module")
def cut_outs(dataset):
    return load_cut_outs(dataset, min_side=8)


@pytest.fixture(scope="module")
def backgrounds(dataset):
    return {rule: load_backgrounds(dataset, rule=rule, categories={1, 2, 5}) for rule in ("inpaint", "clean", "label")}


def recomposed(plan, index):
    """The definition in floating point: alpha of each object times what the nearer ones let through."""
    size, camera = plan.config.size, plan.camera[index]
    own, colours = [], []
    for cut_out, motion in zip(plan.cut_outs, plan.motions, strict=True):
        alpha, colour = np.zeros(size), np.zeros((*size, 3))
        found = warp(
            cut_out.rgba,
            camera @ motion.transforms[index],
            size,
            waves=None if motion.waves is None else motion.waves[index],
        )
        if found is not None:
            top, left, rgba = found
            box = slice(top, top + rgba.shape[0]), slice(left, left + rgba.shape[1])
            alpha[box], colour[box] = rgba[..., 3] / 255, rgba[..., :3]
        own.append(alpha)
        colours.append(colour)
    shown = camera @ np.array([[1, 0, plan.origin[0]], [0, 1, plan.origin[1]], [0, 0, 1.0]])
    own += [cv2.warpAffine(static.alpha, shown[:2], size[::-1]) / 255 for static in plan.background.statics]
    picture = cv2.warpAffine(plan.background.image, shown[:2], size[::-1], borderMode=cv2.BORDER_REPLICATE) / 1.0
    visible = []
    order = np.argsort([motion.depths[index] for motion in plan.motions])
    for track, alpha in enumerate(own):
        # Background objects lie behind all pasted ones, in their own order.
        place = list(order).index(track) if track < len(order) else track
        nearer = [*order[:place], *range(len(order), track)] if track >= len(order) else order[:place]
        visible.append(alpha * np.prod([1 - own[i] for i in nearer], axis=0) if len(nearer) else alpha)
    for track in order[::-1]:
        picture = picture * (1 - own[track][..., None]) + colours[track] * own[track][..., None]
    return np.stack(own), np.stack(visible), picture


@pytest.mark.parametrize("occlusion", ["light", "heavy"])
@pytest.mark.parametrize("rule", ["inpaint", "label"])
def test_frames_and_masks_are_the_recomposition(cut_outs, backgrounds, occlusion, rule):
    config = replace(SMALL, occlusion=occlusion, background=rule, exposure=0)
    overlapped = 0
    for seed in range(4):
        plan = plan_video(cut_outs, backgrounds[rule], config, seed)
        for index, frame in enumerate(render(plan)):
            own, visible, picture = recomposed(plan, index)
            clear = abs(visible - 0.5) > 3 / 255  # rounding to bytes may move the rest across the threshold
            np.testing.assert_array_equal(frame.masks[clear], visible[clear] >= 0.5)
            assert (~clear).mean() < 0.02
            assert abs(frame.rgb - picture).max() <= 3
            whole = np.rint(own * 255) >= 128
            counts = whole.sum((1, 2))
            assert (np.isnan(frame.hidden) == (counts == 0)).all()
            shown = counts > 0
            expected = 1 - frame.masks.sum((1, 2))[shown] / counts[shown]
            np.testing.assert_allclose(frame.hidden[shown], expected, atol=1e-6)
            overlapped += int((frame.hidden > 0.1).sum())
    assert overlapped > 5 if occlusion == "heavy" else overlapped >= 0


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_setting_gives_disjoint_masks_and_true_occlusion(data, cut_outs, backgrounds):
    low = data.draw(st.integers(1, 5))
    few = data.draw(st.integers(1, 3))
    config = SynthConfig(
        frames=data.draw(st.integers(1, 5)),
        height=data.draw(st.integers(16, 70)),
        width=data.draw(st.integers(16, 70)),
        objects=(low, data.draw(st.integers(low, 7))),
        classes_per_video=(few, data.draw(st.integers(few, 9))),
        occlusion=data.draw(st.sampled_from(["light", "heavy"])),
        object_size=data.draw(st.sampled_from([(0.1, 0.2), (0.3, 0.8), (1.0, 2.0)])),
        background=data.draw(st.sampled_from(["inpaint", "label"])),
        **{
            name: data.draw(st.floats(0, 3))
            for name in ("camera", "motion", "deformation", "photometric", "exposure", "feather")
        },
    )
    video = synthetic_video(cut_outs, backgrounds[config.background], config, data.draw(st.integers(0, 2**40)))
    tracks = len(video.category_ids)
    assert video.frames.shape == (config.frames, config.height, config.width, 3)
    assert video.masks.shape == (tracks, config.frames, config.height, config.width)
    assert video.occlusion.shape == (tracks, config.frames)
    assert len(video.annotation_ids) == tracks
    if tracks:
        assert video.masks.sum(0).max() <= 1
        assert video.masks.any((1, 2, 3)).all()
        empty = ~video.masks.any((2, 3))
        shares = video.occlusion[empty]
        assert (np.isnan(shares) | (shares == 1)).all()
        assert ((video.occlusion[~empty] >= 0) & (video.occlusion[~empty] < 1)).all()
    if config.background == "inpaint":
        assert len(set(video.annotation_ids)) == tracks


def test_the_seed_decides_everything(cut_outs, backgrounds):
    videos = [synthetic_video(cut_outs, backgrounds["inpaint"], SynthConfig(frames=4), seed) for seed in (3, 3, 4)]
    for name in ("frames", "masks", "occlusion"):
        np.testing.assert_array_equal(getattr(videos[0], name), getattr(videos[1], name))
    assert not np.array_equal(videos[0].frames, videos[2].frames)


def test_a_plain_list_serves_as_well(cut_outs, backgrounds):
    config = replace(SMALL, frames=2)
    lazy = synthetic_video(cut_outs, backgrounds["inpaint"], config, 5)
    listed = synthetic_video(list(cut_outs), list(backgrounds["inpaint"]), config, 5)
    np.testing.assert_array_equal(lazy.frames, listed.frames)
    with pytest.raises(ConfigError, match="at least one cut-out"):
        synthetic_video([], backgrounds["inpaint"], config, 5)


def test_heavy_occlusion_hides_more_than_light(cut_outs, backgrounds):
    shares = {}
    for occlusion in ("light", "heavy"):
        config = replace(SMALL, occlusion=occlusion, frames=16)
        videos = [synthetic_video(cut_outs, backgrounds["inpaint"], config, seed) for seed in range(12)]
        shares[occlusion] = np.nanmean(np.concatenate([video.occlusion.ravel() for video in videos]))
    assert shares["light"] < 0.12
    assert shares["heavy"] > shares["light"] + 0.1


def test_objects_enter_leave_turn_and_change_order(cut_outs, backgrounds):
    config = replace(SMALL, frames=40, occlusion="heavy", height=96, width=160)
    plans = [plan_video(cut_outs, backgrounds["inpaint"], config, seed) for seed in range(8)]
    videos = [synthetic_video(cut_outs, backgrounds["inpaint"], config, seed) for seed in range(8)]
    outside = [np.isnan(video.occlusion) for video in videos]
    assert any((~row[:-1] & row[1:]).any() for video in outside for row in video), "none leaves"
    assert any((row[:-1] & ~row[1:]).any() for video in outside for row in video), "none enters"
    orders = [np.argsort([motion.depths for motion in plan.motions], axis=0) for plan in plans]
    assert any((order != order[:, :1]).any() for order in orders)
    areas = np.concatenate([video.masks.sum((2, 3)) for video in videos])
    assert (areas.max(1) > 1.3 * areas.min(1)).mean() > 0.5


def test_a_still_world_stays_still(cut_outs, backgrounds):
    still = replace(SMALL, camera=0, motion=0, background="label")
    video = synthetic_video(cut_outs, backgrounds["label"], still, 1)
    assert (video.frames == video.frames[:1]).all()
    assert (video.masks == video.masks[:, :1]).all()


def test_camera_motion_carries_the_background_objects(cut_outs, backgrounds):
    """A static object follows the camera exactly: its centre moves as the camera's matrix says."""
    config = replace(SMALL, background="label", objects=(1, 1), frames=20)
    checked = 0
    for seed in range(10):
        plan = plan_video(cut_outs, backgrounds["label"], config, seed)
        frames = list(render(plan))
        for track in range(len(plan.cut_outs), len(plan.category_ids)):
            y, x = np.nonzero(plan.background.statics[track - len(plan.cut_outs)].alpha >= 128)
            world = np.array([x.mean() + plan.origin[0], y.mean() + plan.origin[1], 1])
            for index, frame in enumerate(frames):
                rows, columns = np.nonzero(frame.masks[track])
                inside = len(rows) and rows.min() > 1 and rows.max() < 58 and columns.min() > 1 and columns.max() < 94
                if inside and frame.hidden[track] == 0 and len(rows) > 40:
                    checked += 1
                    expected = (plan.camera[index] @ world)[:2]
                    np.testing.assert_allclose([columns.mean(), rows.mean()], expected, atol=0.6)
    assert checked > 50


def test_the_camera_never_looks_past_the_background(cut_outs, backgrounds):
    for seed in range(10):
        plan = plan_video(cut_outs, backgrounds["inpaint"], replace(SMALL, camera=2, frames=60), seed)
        height, width = plan.background.image.shape[:2]
        corners = np.array([[0, 95, 0, 95], [0, 0, 59, 59], [1, 1, 1, 1]])
        seen = np.linalg.inv(plan.camera) @ corners
        x, y = seen[:, 0] - plan.origin[0], seen[:, 1] - plan.origin[1]
        assert x.min() >= 0
        assert y.min() >= 0
        assert x.max() <= width - 1
        assert y.max() <= height - 1


@pytest.mark.parametrize("frames", [1, 14, 15, 100])
def test_paths_are_natural_cubic_splines(frames):
    knots = np.arange(0, frames + 14, 14)
    points = np.random.default_rng(frames).normal(size=(len(knots), 2))
    expected = CubicSpline(knots, points, bc_type="natural")(np.arange(frames))
    np.testing.assert_allclose(spline_weights(frames) @ points, expected, atol=1e-9)


def test_paths_are_smooth_and_the_first_object_starts_inside():
    config = replace(SMALL, frames=120, camera=1, height=96, width=160)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(camera_path(rng, replace(config, camera=0)), np.tile(np.eye(3), (120, 1, 1)))
    motions = object_paths(rng, [(30, 40)] * 5, config)
    assert (abs(motions[0].centres[0] / (160, 96) - 0.5) < 0.5).all()
    for motion in motions:
        steps = np.diff(motion.centres, axis=0)
        assert np.hypot(*np.diff(steps, axis=0).T).max() < 6  # pixels per frame²
        assert np.isfinite(motion.transforms).all()
        middle = motion.transforms @ [19.5, 14.5, 1]
        np.testing.assert_allclose(middle[:, :2] / middle[:, 2:], motion.centres, atol=1e-9)


def test_every_shot_shows_the_same_objects_before_another_background(cut_outs, backgrounds):
    config = replace(SMALL, shots=3, objects=(2, 2))
    for seed in range(4):
        plan = plan_video(cut_outs, backgrounds["inpaint"], config, seed)
        shots = [plan, *plan.later_shots]
        assert [shot.config.frames for shot in shots] == [4, 3, 3]
        assert plan.frames == 10
        assert len({shot.annotation_ids for shot in shots}) == 1
        assert len({shot.background.image.tobytes() for shot in shots}) == 3
        video = synthetic_video(cut_outs, backgrounds["inpaint"], config, seed)
        assert video.masks.shape[1] == len(video.frames) == 10
        assert video.masks[:, [0, 4, 7]].any((0, 2, 3)).all()  # each shot begins with an object in view
        steps = abs(np.diff(video.frames.astype(int), axis=0)).mean((1, 2, 3))
        assert min(steps[[3, 6]]) > max(np.delete(steps, [3, 6]))  # cuts stand out


def test_a_single_shot_is_drawn_as_the_first_of_several(cut_outs, backgrounds):
    alone = synthetic_video(cut_outs, backgrounds["inpaint"], replace(SMALL, frames=5), 7)
    first = synthetic_video(cut_outs, backgrounds["inpaint"], replace(SMALL, frames=10, shots=2), 7)
    np.testing.assert_array_equal(first.frames[:5], alone.frames)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames must be 1"),
        ({"height": 8}, "16..4096"),
        ({"shots": 0}, "shots must lie in 1..24"),
        ({"frames": 3, "shots": 4}, "shots must lie in 1..3"),
        ({"shots": 2, "background": "label"}, "needs one shot"),
        ({"objects": (3, 2)}, "objects must be MIN-MAX"),
        ({"classes_per_video": (0, 2)}, "classes_per_video must be"),
        ({"object_size": (0.5, 0.1)}, "object_size"),
        ({"occlusion": "total"}, "light or heavy"),
        ({"background": "none"}, "inpaint, clean or label"),
        ({"camera": float("nan")}, "camera must lie in 0..3"),
        ({"motion": -1}, "motion must lie"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        SynthConfig(**change)
