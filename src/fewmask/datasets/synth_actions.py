"""Videos with actions whose beginning and end are known to the frame, to test temporal localisation on.

An action is a motion program: a textured thing shakes, circles, spins, pulses or hops in a way of its own. In a support
clip one thing runs one program all the time. In a query it drifts idly, three times runs the program in question and
twice others, once each, which nobody asks for. All stretches are about equally long, so that neither length nor motion
as such tells which are meant, only the program. Looks (thing, background, colours) are drawn anew for each video, so
that only the motion is shared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.actions import Action, ActionVideo, write_activitynet
from fewmask.errors import ConfigError
from fewmask.media.atomic import write_bytes

Frames = npt.NDArray[np.uint8]
Pose = tuple[float, float, float, float]
"""x and y in units of the frame's height, turn in radians, scale."""

FRAMES_PER_SECOND = 10.0
_REACH = 0.13
_TIMES, _OTHERS = 3, 2  # stretches of the program in question, and of others
_GAP = 8  # frames between two stretches at least
_SHORTEST = 160


def _shake(angle: float) -> Callable[[float], Pose]:
    def pose(phase: float) -> Pose:
        way = _REACH * math.sin(phase)
        return way * math.cos(angle), way * math.sin(angle), 0.0, 1.0

    return pose


_MOTIONS: dict[str, Callable[[float], Pose]] = {
    "shake": _shake(0.0),
    "nod": _shake(math.pi / 2),
    "slash": _shake(math.pi / 4),
    "backslash": _shake(-math.pi / 4),
    "circle": lambda phase: (_REACH * math.cos(phase), _REACH * math.sin(phase), 0.0, 1.0),
    "spin": lambda phase: (0.0, 0.0, phase, 1.0),
    "pulse": lambda phase: (0.0, 0.0, 0.0, 1 + 0.45 * math.sin(phase)),
    "hop": lambda phase: (0.0, -1.6 * _REACH * abs(math.sin(phase / 2)), 0.0, 1.0),
}
_PERIODS = {"slow": 14.0, "fast": 7.0}
PROGRAMS = tuple(f"{speed}_{motion}" for motion in _MOTIONS for speed in _PERIODS)
"""Names of the actions."""


@dataclass(frozen=True)
class MadeVideo:
    """Pictures uint8 [T, H, W, 3] and what happens in them."""

    frames: Frames
    video: ActionVideo


def support_video(
    name: str, program: str, seed: int, *, frames: int = 48, size: tuple[int, int] = (64, 96)
) -> MadeVideo:
    """A trimmed clip: one program from the first frame to the last.

    Raises:
        ConfigError: no such program, or fewer than two frames.
    """
    return _made(name, [(program, frames)], seed, size, "supports")


def query_video(
    name: str,
    program: str,
    others: Sequence[str],
    seed: int,
    *,
    frames: int = 240,
    size: tuple[int, int] = (64, 96),
) -> MadeVideo:
    """An untrimmed video: the program in three stretches, two of the others in one each as long, idle between.

    Args:
        name: of the video.
        program: what is asked for.
        others: what else may happen.
        seed: the same seed gives the same pixels.
        frames: length of the video, 160 or more.
        size: (H, W) in pixels.

    Raises:
        ConfigError: no such program, fewer than two others, or too short a video.
    """
    strange = sorted(set(others) - {program})
    if frames < _SHORTEST or len(strange) < _OTHERS:
        raise ConfigError(
            f"a query needs {_SHORTEST} frames and {_OTHERS} other programs at least, got {frames} and {list(others)}"
        )
    chance = np.random.default_rng((seed, 1))
    names = [program] * _TIMES + chance.choice(strange, _OTHERS, replace=False).tolist()
    parts = [(str(name), int(frames * chance.uniform(0.12, 0.15))) for name in names]
    spare = frames - sum(length for _, length in parts) - _GAP * (len(parts) - 1)
    gaps = np.diff([0, *sorted(chance.integers(0, spare + 1, len(parts)).tolist()), spare])
    plan: list[tuple[str, int]] = []
    for gap, place in zip(gaps, chance.permutation(len(parts)).tolist(), strict=False):
        plan += [("", int(gap) + (_GAP if plan else 0)), parts[place]]
    plan.append(("", frames - sum(length for _, length in plan)))
    return _made(name, plan, seed, size, "queries")


def write_made(folder: Path, videos: Sequence[MadeVideo]) -> Path:
    """Frames as JPEGImages/NAME/00000.jpg and the annotations in ActivityNet's format; returns the annotation file."""
    for made in videos:
        place = folder / "JPEGImages" / made.video.name
        place.mkdir(parents=True, exist_ok=True)
        for number, rgb in enumerate(made.frames):
            coded = cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            write_bytes(place / f"{number:05d}.jpg", coded.tobytes())
    path = folder / "actions.json"
    write_activitynet(path, [made.video for made in videos])
    return path


def _made(name: str, plan: Sequence[tuple[str, int]], seed: int, size: tuple[int, int], subset: str) -> MadeVideo:
    unknown = [program for program, _ in plan if program and program not in PROGRAMS]
    length = sum(count for _, count in plan)
    if unknown or length < 2:
        raise ConfigError(f"no program {unknown}; there are {', '.join(PROGRAMS)}, for videos of 2 frames and more")
    chance = np.random.default_rng((seed, 2))
    ground, thing, outline = _texture(chance, size, 7.0), *_thing(chance, size[0])
    pictures, actions, start = [], [], 0
    home, drift = np.array([0.5 * size[1] / size[0], 0.55]), np.zeros(2)
    phase = chance.uniform(0, 2 * math.pi)
    for program, count in plan:
        turn = chance.uniform(0, 2 * math.pi)
        if program and count:
            actions.append(Action(program, start / FRAMES_PER_SECOND, (start + count) / FRAMES_PER_SECOND))
        for _ in range(count):
            drift = 0.9 * drift + chance.normal(0, 0.004, 2)
            home = np.clip(home + drift, [0.35, 0.4], [size[1] / size[0] - 0.35, 0.65])
            pose = (0.0, 0.0, 0.0, 1.0)
            if program:
                speed, motion = program.split("_")
                phase += 2 * math.pi / _PERIODS[speed]
                pose = _MOTIONS[motion](phase + turn)
            moved = (pose[0] + home[0], pose[1] + home[1], pose[2], pose[3])
            pictures.append(_pasted(ground, thing, outline, moved, chance))
        start += count
    video = ActionVideo(name, start / FRAMES_PER_SECOND, subset, tuple(actions))
    return MadeVideo(np.stack(pictures), video)


def _texture(chance: np.random.Generator, size: tuple[int, int], coarse: float) -> Frames:
    """Coloured noise of a grain, uint8 [H, W, 3]."""
    noise = sum(
        weight * cv2.GaussianBlur(chance.normal(0, 1, (*size, 3)).astype(np.float32), (0, 0), grain) * grain
        for weight, grain in ((1.0, coarse), (0.7, coarse / 3), (0.4, 1.0))
    )
    scaled = chance.uniform(70, 185, 3) + 55 * np.asarray(noise)
    return np.asarray(np.clip(scaled, 0, 255).astype(np.uint8))


def _thing(chance: np.random.Generator, height: int) -> tuple[Frames, npt.NDArray[np.float32]]:
    """A blob with a texture: colours uint8 [S, S, 3], opacity [S, S]."""
    side = max(16, round(0.36 * height))
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    waves = sum(chance.uniform(-0.16, 0.16) * np.cos(k * angles + chance.uniform(0, 6.3)) for k in (2, 3, 4))
    radii = side * 0.36 * (1 + waves)
    points = np.stack([side / 2 + radii * np.cos(angles), side / 2 + radii * np.sin(angles)], 1)
    opacity = np.zeros((side, side), np.uint8)
    cv2.fillPoly(opacity, [points.round().astype(np.int32)], 255)
    return _texture(chance, (side, side), 4.0), np.asarray(opacity / 255, dtype=np.float32)


def _pasted(
    ground: Frames, thing: Frames, opacity: npt.NDArray[np.float32], pose: Pose, chance: np.random.Generator
) -> Frames:
    height, width = ground.shape[:2]
    x, y, turn, scale = pose
    cos, sin, half = scale * math.cos(turn), scale * math.sin(turn), len(thing) / 2
    matrix = np.array(
        [[cos, -sin, x * height - cos * half + sin * half], [sin, cos, y * height - sin * half - cos * half]]
    )
    colours = cv2.warpAffine(thing, matrix, (width, height)).astype(np.float32)
    alpha = cv2.warpAffine(opacity, matrix, (width, height))[:, :, None]
    mixed = ground * (1 - alpha) + colours * alpha + chance.normal(0, 2.0, ground.shape)
    return np.asarray(np.clip(mixed, 0, 255).astype(np.uint8))
