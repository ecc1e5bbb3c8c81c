"""One synthetic video: what is in it, drawn from a seed, and its frames with exact masks, one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets import synth_background
from fewmask.datasets.canvas import OPAQUE_FROM, Canvas, CutOut, cover, paste, resized
from fewmask.datasets.copy_paste import CutOuts
from fewmask.datasets.synth_background import Background
from fewmask.datasets.synth_config import SynthConfig
from fewmask.datasets.synth_motion import ObjectMotion, camera_path, object_paths, smooth
from fewmask.datasets.synth_warp import ByteImage, Floats
from fewmask.errors import ConfigError

MAX_ENLARGEMENT = 1.5
"""Cut-outs are shown at most this many times larger than they were photographed."""


@dataclass(frozen=True)
class SyntheticFrame:
    """One frame. Rows of ``masks`` and ``hidden`` follow the tracks of the plan."""

    rgb: ByteImage
    """uint8 [H, W, 3]."""
    masks: npt.NDArray[np.bool_]
    """Exact visible regions, bool [N, H, W]; disjoint; all False where the object does not show."""
    hidden: npt.NDArray[np.float32]
    """[N]: share in [0, 1] of the object's pixels inside the frame that others hide; nan where it is outside."""


@dataclass(frozen=True)
class SyntheticVideo:
    """A whole video in memory; tracks that never show are left out."""

    frames: ByteImage
    """uint8 [T, H, W, 3]."""
    masks: npt.NDArray[np.bool_]
    """Exact visible regions, bool [N, T, H, W]."""
    category_ids: tuple[int, ...]
    """One per track."""
    annotation_ids: tuple[int, ...]
    """The annotation each track was cut from."""
    occlusion: npt.NDArray[np.float32]
    """[N, T]: share in [0, 1] hidden by others; nan where the object is outside the frame."""


@dataclass(frozen=True)
class VideoPlan:
    """Everything drawn before the first frame: the same plan always gives the same frames."""

    config: SynthConfig
    """Of the first shot alone: its ``frames`` are those until the cut."""
    camera: Floats
    background: Background
    origin: tuple[int, int]
    """World x and y of the background's first pixel."""
    cut_outs: tuple[CutOut, ...]
    motions: tuple[ObjectMotion, ...]
    tone: Floats
    """[T, 3, 2]: gain and offset per frame and colour."""
    grain: npt.NDArray[np.int16] | None
    """Sensor noise, larger than the frame; each frame shows another part of it."""
    grain_offsets: npt.NDArray[np.int64]
    later_shots: tuple["VideoPlan", ...] = ()
    """The same objects, in the same order, after each cut."""

    @property
    def frames(self) -> int:
        """Of all shots."""
        return self.config.frames + sum(shot.frames for shot in self.later_shots)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """One per track: the pasted objects, then the background's own."""
        return tuple([c.category_id for c in self.cut_outs] + [s.category_id for s in self.background.statics])

    @property
    def annotation_ids(self) -> tuple[int, ...]:
        """One per track, in the same order."""
        return tuple([c.annotation_id for c in self.cut_outs] + [s.annotation_id for s in self.background.statics])


def synthetic_video(
    cut_outs: Sequence[CutOut], backgrounds: Sequence[Background], config: SynthConfig, seed: int | Sequence[int]
) -> SyntheticVideo:
    """One video in memory, the same for the same arguments.

    Args:
        cut_outs: from `copy_paste.load_cut_outs`, or any list.
        backgrounds: from `synth_background.load_backgrounds`, or any list.
        config: see `SynthConfig`.
        seed: one number 0 or more, or several, such as (seed of the run, index of the video).

    Raises:
        ConfigError: no cut-outs or no backgrounds.
        DatasetError: an image cannot be read, or no background fits.
    """
    plan = plan_video(cut_outs, backgrounds, config, seed)
    frames = list(render(plan))
    masks = np.stack([frame.masks for frame in frames], 1)
    shown = np.flatnonzero(masks.any((1, 2, 3)))
    return SyntheticVideo(
        frames=np.stack([frame.rgb for frame in frames]),
        masks=masks[shown],
        category_ids=tuple(plan.category_ids[i] for i in shown),
        annotation_ids=tuple(plan.annotation_ids[i] for i in shown),
        occlusion=np.stack([frame.hidden for frame in frames], 1)[shown],
    )


def plan_video(
    cut_outs: Sequence[CutOut], backgrounds: Sequence[Background], config: SynthConfig, seed: int | Sequence[int]
) -> VideoPlan:
    """Draw a video; see `synthetic_video`."""
    if not len(cut_outs) or not len(backgrounds):
        raise ConfigError("a synthetic video needs at least one cut-out and one background")
    rng = np.random.default_rng(seed)
    whole, longer = divmod(config.frames, config.shots)
    lengths = [whole + (number < longer) for number in range(config.shots)]
    shots: list[VideoPlan] = []
    chosen: list[int] = []
    for frames in lengths:
        shot, chosen = _plan_shot(rng, cut_outs, backgrounds, replace(config, frames=frames, shots=1), chosen)
        shots.append(shot)
    return replace(shots[0], later_shots=tuple(shots[1:]))


def _plan_shot(
    rng: np.random.Generator,
    cut_outs: Sequence[CutOut],
    backgrounds: Sequence[Background],
    config: SynthConfig,
    chosen: list[int],
) -> tuple[VideoPlan, list[int]]:
    """A shot of the cut-outs with these indices, drawn now if there are none; and the indices."""
    camera = camera_path(rng, config)
    left, top, right, bottom = _world_in_view(camera, config)
    background = synth_background.choose_background(rng, backgrounds, bottom - top, right - left, config.background)
    chosen = chosen or _choose(rng, cut_outs, config)
    sized = [_sized(rng, cut_outs[i], background.image.mean((0, 1)), config) for i in chosen]
    motions = object_paths(rng, [cut_out.rgba.shape[:2] for cut_out in sized], config)
    tone = np.stack([np.ones((config.frames, 3)), np.zeros((config.frames, 3))], -1)
    tone[..., 0] += config.photometric * 0.1 * smooth(rng, config.frames, 1, (20, 80))
    tone[..., 0] += config.photometric * 0.03 * smooth(rng, config.frames, 3, (20, 80))
    tone[..., 1] += config.photometric * 6 * smooth(rng, config.frames, 1, (20, 80))
    noise = config.photometric * rng.uniform(0, 3.5)
    shape = config.height + 32, config.width + 32, 3
    grain = np.rint(noise * rng.standard_normal(shape, np.float32)).astype(np.int16) if noise > 0.5 else None
    plan = VideoPlan(
        config=config,
        camera=camera,
        background=background,
        origin=(left, top),
        cut_outs=tuple(sized),
        motions=tuple(motions),
        tone=tone,
        grain=grain,
        grain_offsets=rng.integers(0, 33, (config.frames, 2)),
    )
    return plan, chosen


def render(plan: VideoPlan) -> Iterator[SyntheticFrame]:
    """The frames of a plan, made one at a time."""
    for shot in (plan, *plan.later_shots):
        yield from (_render_frame(shot, index) for index in range(shot.config.frames))


def _render_frame(plan: VideoPlan, index: int) -> SyntheticFrame:
    config, camera = plan.config, plan.camera[index]
    tracks = len(plan.category_ids)
    masks = np.zeros((tracks, *config.size), bool)
    hidden = np.full(tracks, np.nan, np.float32)
    canvas = Canvas(*config.size)
    for track in sorted(range(len(plan.cut_outs)), key=lambda i: plan.motions[i].depths[index]):
        motion = plan.motions[track]
        pasted = paste(
            canvas,
            plan.cut_outs[track],
            camera @ motion.transforms[index],
            waves=None if motion.waves is None else motion.waves[index],
            blur=_blur(plan, motion.centres, index),
        )
        if pasted is not None:
            masks[track][pasted.window] = pasted.mask
            hidden[track] = pasted.hidden_share
    shown = camera @ np.array([[1, 0, plan.origin[0]], [0, 1, plan.origin[1]], [0, 0, 1.0]])
    # The background's own objects are in its picture already; they only need their share of what shows through.
    transmittance = canvas.transmittance.copy()
    for track, static in enumerate(plan.background.statics, len(plan.cut_outs)):
        alpha = cv2.warpAffine(static.alpha, shown[:2], config.size[::-1], flags=cv2.INTER_LINEAR)
        pasted = cover(transmittance, 0, 0, alpha)
        masks[track] = pasted.mask
        hidden[track] = pasted.hidden_share
    behind = cv2.warpAffine(
        plan.background.image, shown[:2], config.size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return SyntheticFrame(_developed(plan, canvas.over(behind), index), masks, hidden)


def _developed(plan: VideoPlan, rgb: ByteImage, index: int) -> ByteImage:
    """The frame with its drift of brightness and colour, and its grain."""
    if plan.config.photometric == 0:
        return rgb
    levels = np.arange(256)[:, None] * plan.tone[index, :, 0] + plan.tone[index, :, 1]
    toned: ByteImage = cv2.LUT(rgb, np.rint(levels).clip(0, 255).astype(np.uint8)[:, None])
    if plan.grain is None:
        return toned
    y, x = plan.grain_offsets[index]
    height, width = plan.config.size
    return np.asarray(cv2.add(toned, plan.grain[y : y + height, x : x + width], dtype=cv2.CV_8U))


def _blur(plan: VideoPlan, centres: Floats, index: int) -> tuple[float, float]:
    """Motion of an object across the frame (x, y) while the shutter is open."""
    last = len(centres) - 1
    if plan.config.exposure == 0 or last == 0:
        return 0.0, 0.0
    before, after = max(index - 1, 0), min(index + 1, last)
    ends = [plan.camera[i] @ (*centres[i], 1.0) for i in (before, after)]
    step = (ends[1] - ends[0])[:2] / (after - before) * plan.config.exposure
    step *= min(1.0, 0.05 * plan.config.width / max(float(np.hypot(*step)), 1e-9))
    return float(step[0]), float(step[1])


def _world_in_view(camera: Floats, config: SynthConfig) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of all that the camera ever sees, with a pixel to spare for interpolation."""
    height, width = config.size
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    seen = (np.linalg.inv(camera) @ corners)[:, :2]
    low, high = np.floor(seen.min((0, 2))) - 1, np.ceil(seen.max((0, 2))) + 2
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _choose(rng: np.random.Generator, cut_outs: Sequence[CutOut], config: SynthConfig) -> list[int]:
    """Indices of different cut-outs from few classes, classes equally likely; fewer where the classes run out."""
    ids = cut_outs.category_ids if isinstance(cut_outs, CutOuts) else [c.category_id for c in cut_outs]
    categories = np.array(ids)
    known = np.unique(categories)
    count = int(rng.integers(config.objects[0], config.objects[1] + 1))
    classes = min(int(rng.integers(config.classes_per_video[0], config.classes_per_video[1] + 1)), len(known))
    # Beyond the classes wanted, the others stand by in case those have too few cut-outs.
    order = rng.permutation(known)
    piles = {int(c): rng.permutation(np.flatnonzero(categories == c)).tolist() for c in order}
    chosen: list[int] = []
    wanted = [int(c) for c in order[:classes]]
    reserve = [int(c) for c in order[classes:]]
    while len(chosen) < min(count, len(cut_outs)):
        wanted = [c for c in wanted if piles[c]] or [reserve.pop(0)]
        # Every class wanted comes once before any comes twice.
        pick = wanted[len(chosen)] if len(chosen) < len(wanted) else int(rng.choice(wanted))
        chosen.append(piles[pick].pop())
    return chosen


def _sized(rng: np.random.Generator, cut_out: CutOut, ground: Floats, config: SynthConfig) -> CutOut:
    """The cut-out at the largest size it will have, perhaps mirrored, its brightness drawn towards the background's."""
    low, high = config.object_size
    wanted = low * (high / low) ** rng.random() * min(config.size)
    scale = min(wanted / max(cut_out.rgba.shape[:2]), MAX_ENLARGEMENT)
    rgba = resized(cut_out, scale, feather=config.feather).rgba
    if rng.integers(2):
        rgba = np.ascontiguousarray(rgba[:, ::-1])
    opaque = (rgba[..., 3] >= OPAQUE_FROM).view(np.uint8)
    brightness = float(np.mean(cv2.mean(rgba, opaque)[:3])) if opaque.any() else 128.0
    gain = float(np.clip((ground.mean() + 20) / (brightness + 20), 0.6, 1.6)) ** rng.uniform(0, 0.5)
    levels = np.arange(256)[:, None] * ([gain] * 3 + [1])
    return replace(cut_out, rgba=cv2.LUT(rgba, np.rint(levels).clip(0, 255).astype(np.uint8)[:, None]))
