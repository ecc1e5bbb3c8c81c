"""How camera and objects move: smooth paths, all drawn before the first frame is made.

Places are in *world* pixels, the frame's own pixels while the camera rests. An object is a flat card that turns in
space before a pinhole camera, so that turning foreshortens it; depth gives both its size and who stands before whom.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fewmask.datasets.synth_config import SynthConfig
from fewmask.datasets.synth_warp import Floats

_FOCAL = 2.5  # focal length in card sizes: perspective as of a camera 2.5 object sizes away
_STRIDE = 14  # frames between two points of a path
_CANDIDATES = 8
_AIMED_OVERLAP = {"light": 0.15, "heavy": 0.75}  # mean share of the smaller box; 1 would hide objects for good
_CLOSE_POINTS = 0.75  # share of a path's points that are near another object under heavy occlusion


@dataclass(frozen=True)
class ObjectMotion:
    """One object over T frames."""

    transforms: Floats
    """[T, 3, 3]: pixels of the cut-out to the world."""
    centres: Floats
    """[T, 2]: x, y in the world."""
    depths: Floats
    """[T]: smaller is nearer; size goes as its inverse."""
    waves: Floats | None
    """[T, K, 5] for `copy_paste.paste`, or None for a rigid object."""


def camera_path(rng: np.random.Generator, config: SynthConfig) -> Floats:
    """[T, 3, 3]: world to frame. Pan, zoom and rotation drift slowly; half of the cameras are hand-held and shake."""
    height, width = config.size
    strength = config.camera * rng.uniform(0.2, 1.0)
    drift = smooth(rng, config.frames, 4, (30, 90)) * strength
    shake = smooth(rng, config.frames, 2, (2.5, 7)) * strength * (rng.random() < 0.5) * 0.004 * width
    pan = drift[:, :2] * (0.16 * width, 0.12 * height) + shake
    zoom, angle = np.exp(0.14 * drift[:, 2]), 0.07 * drift[:, 3]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    path = np.tile(np.eye(3), (config.frames, 1, 1))
    path[:, :2, :2] = _rotations(angle) * zoom[:, None, None]
    path[:, :2, 2] = centre - path[:, :2, :2] @ centre + pan
    return path


def object_paths(rng: np.random.Generator, sizes: list[tuple[int, int]], config: SynthConfig) -> list[ObjectMotion]:
    """One motion per object of ``sizes`` (height, width of its cut-out), kept apart or brought together as configured.

    The first object is inside the frame in the first frame, so that no video is empty; under heavy occlusion, where the
    others seek its company, it stays inside.
    """
    routes: list[_Route] = []
    for index, size in enumerate(sizes):
        met = routes[int(rng.integers(index))] if index and config.occlusion == "heavy" else None
        candidates = [_route(rng, size, config, met, stays=index == 0) for _ in range(_CANDIDATES)]
        overlaps = np.array([_overlap(candidate, routes) for candidate in candidates])
        routes.append(candidates[int(np.abs(overlaps - _AIMED_OVERLAP[config.occlusion]).argmin())])
    return [_motion(rng, size, config, route) for size, route in zip(sizes, routes, strict=True)]


def smooth(rng: np.random.Generator, frames: int, count: int, period: tuple[float, float]) -> Floats:
    """``count`` smooth random signals [T, count], about in [-1, 1]: two sines each, periods in frames."""
    periods = rng.uniform(*period, (2, count))
    phases = rng.uniform(0, 2 * np.pi, (2, count))
    times = np.arange(frames)[:, None, None]
    waves: Floats = np.sin(2 * np.pi * times / periods + phases)  # [T, 2, count]
    return np.asarray((waves * [[0.65], [0.35]]).sum(1))


@dataclass(frozen=True)
class _Route:
    """Where an object goes; see `ObjectMotion`. ``scales`` [T] are relative to its cut-out."""

    centres: Floats
    extents: Floats
    depths: Floats
    scales: Floats


def _route(
    rng: np.random.Generator, size: tuple[int, int], config: SynthConfig, met: _Route | None, *, stays: bool
) -> _Route:
    """A random route; near ``met``, where one is given, most of the time."""
    height, width = size
    centres = _waypoint_curve(rng, float(np.hypot(height, width)) / 2, config, met, stays=stays)
    drift = 0.35 * config.motion * smooth(rng, config.frames, 1, (25, 70))[:, 0]
    depths = np.exp(rng.uniform(-0.3, 0.3) + drift)
    scales = depths.min() / depths  # at most 1: the cut-out comes at the largest size it will have
    return _Route(centres, scales[:, None] * (width, height), depths, scales)


def _motion(rng: np.random.Generator, size: tuple[int, int], config: SynthConfig, route: _Route) -> ObjectMotion:
    """A route with the object's turning and bending on the way."""
    turning = config.motion * smooth(rng, config.frames, 3, (20, 60)) * (0.65, 0.4, 0.3)
    turning[:, 2] += rng.uniform(-0.25, 0.25)
    transforms = _card_transforms(size, route.centres, route.scales, turning)
    return ObjectMotion(transforms, route.centres, route.depths, _waves(rng, size, config))


def _waypoint_curve(
    rng: np.random.Generator, reach: float, config: SynthConfig, met: _Route | None, *, stays: bool
) -> Floats:
    """A spline [T, 2] through random places; a third of the objects enter, a third leave, long paths do both often."""
    frame = np.array([config.width, config.height], float)
    knots = np.arange(0, config.frames + _STRIDE, _STRIDE)
    points = np.empty((len(knots), 2))
    margin = 0.2 if stays and config.occlusion == "heavy" else 0.05
    points[0] = rng.uniform(0.2, 0.8, 2) * frame
    for index in range(1, len(knots)):
        step = rng.normal(0, 0.28, 2) * frame * config.motion
        points[index] = np.clip(points[index - 1] + step, margin * frame, (1 - margin) * frame)
    if met is not None:
        at = np.minimum(knots, config.frames - 1)
        beside = met.centres[at] + rng.normal(0, 0.3, (len(knots), 2)) * met.extents[at]
        points = np.where(rng.random((len(knots), 1)) < _CLOSE_POINTS, beside, points)
    outside = rng.random(len(knots)) < np.where(np.isin(np.arange(len(knots)), (0, len(knots) - 1)), 0.3, 0.08)
    if stays:
        outside[: None if config.occlusion == "heavy" else 1] = False
    if config.motion > 0:
        for point in np.flatnonzero(outside):
            side = int(rng.integers(4))
            axis, far = side % 2, side // 2
            points[point, axis] = frame[axis] + 0.8 * reach if far else -0.8 * reach
    return np.asarray(spline_weights(config.frames) @ points)


@lru_cache(maxsize=8)
def spline_weights(frames: int) -> Floats:
    """[T, K]: what the K points of a path, one every 14 frames, weigh in each frame of the natural cubic spline."""
    count = -(-(frames + _STRIDE) // _STRIDE)
    points = np.eye(count)
    bending = np.zeros((count, count))  # second derivatives in the points; none at the ends
    if count > 2:
        between = 4 * np.eye(count - 2) + np.eye(count - 2, k=1) + np.eye(count - 2, k=-1)
        bending[1:-1] = np.linalg.solve(between, 6 * (points[2:] - 2 * points[1:-1] + points[:-2]))
    first, on = np.divmod(np.arange(frames), _STRIDE)
    after = (on / _STRIDE)[:, None]
    before = 1 - after
    straight = before * points[first] + after * points[first + 1]
    curved = (before**3 - before) * bending[first] + (after**3 - after) * bending[first + 1]
    return np.asarray(straight + curved / 6)


def _card_transforms(size: tuple[int, int], centres: Floats, scales: Floats, turning: Floats) -> Floats:
    """[T, 3, 3]: a card of ``size`` pixels turned by ``turning`` [T, 3], scaled, and put at ``centres``.

    The angles, in radians, are yaw (about the vertical), pitch (about the horizontal) and roll (in the picture).
    """
    yaw, pitch, roll = turning.T
    height, width = size
    distance = _FOCAL * max(height, width)
    about_y, about_x = np.zeros((2, len(scales), 3, 3))
    about_y[:, 1, 1] = about_x[:, 0, 0] = 1
    about_y[:, 0, 0] = about_y[:, 2, 2] = np.cos(yaw)
    about_y[:, 0, 2], about_y[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
    about_x[:, 1, 1] = about_x[:, 2, 2] = np.cos(pitch)
    about_x[:, 1, 2], about_x[:, 2, 1] = -np.sin(pitch), np.sin(pitch)
    in_space = about_x @ about_y
    card = np.zeros_like(in_space)  # the card has no thickness: its z column drops out
    card[:, :2, :2] = _rotations(roll) @ in_space[:, :2, :2] * scales[:, None, None]
    card[:, 2, :2] = in_space[:, 2, :2] / distance
    card[:, 2, 2] = 1
    to_world = np.tile(np.eye(3), (len(scales), 1, 1))
    to_world[:, :2, 2] = centres
    to_card = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    return np.asarray(to_world @ card @ to_card)


def _waves(rng: np.random.Generator, size: tuple[int, int], config: SynthConfig) -> Floats | None:
    """Three travelling waves per object; how soft an object is differs from object to object."""
    if config.deformation == 0:
        return None
    side = max(size)
    amplitudes = config.deformation * rng.uniform(0.0, 0.018) * side * rng.normal(0, 1, (3, 2)).clip(-1.5, 1.5)
    numbers = rng.normal(0, 1, (3, 2)) * 2 * np.pi / side
    speed = 2 * np.pi / rng.uniform(8, 30, 3) * rng.choice([-1, 1], 3) * config.motion
    phases = rng.uniform(0, 2 * np.pi, 3) + np.arange(config.frames)[:, None] * speed
    still = np.broadcast_to(np.hstack([amplitudes, numbers]), (config.frames, 3, 4))
    return np.concatenate([still, phases[..., None]], 2)


def _overlap(candidate: _Route, others: list[_Route]) -> float:
    """Mean over the frames of the largest share of a box (the smaller one) that lies inside another's."""
    if not others:
        return 0.0
    shares = np.zeros((len(others), len(candidate.depths)))
    for row, other in zip(shares, others, strict=True):
        half = (candidate.extents + other.extents) / 2
        meet = np.clip(half - np.abs(candidate.centres - other.centres), 0, None)
        meet = np.minimum(meet, np.minimum(candidate.extents, other.extents))
        row[:] = meet.prod(1) / np.minimum(candidate.extents.prod(1), other.extents.prod(1))
    return float(shares.max(0).mean())


def _rotations(angles: Floats) -> Floats:
    """Plane rotations [T, 2, 2]."""
    cosines, sines = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cosines, -sines], -1), np.stack([sines, cosines], -1)], -2)
