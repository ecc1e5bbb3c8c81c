"""Tiny inputs, one for every verb, and what of its outputs must be the same after any number of kills."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from moving_squares import write_video
from square_data import TINY, write_pictures, write_videos

from fewmask.media.writer import VideoWriter

FRAMES = 60


@dataclass(frozen=True)
class Scene:
    """One verb on small data.

    Attributes:
        name: of the test.
        arguments: of the command line, given the workspace and the output.
        resumes: added when it is run again on the same output; () where running it again is going on.
        needs: names of the inputs to make.
        starts_over: the verb has no resume: what a killed one leaves is nothing, and it is run again.
    """

    name: str
    arguments: Callable[[Path, Path], list[str]]
    resumes: tuple[str, ...] = ("--resume",)
    starts_over: bool = False
    needs: tuple[str, ...] = field(default=())


def make_workspace(root: Path) -> None:
    """Clips, pictures with masks, a network of random weights, recipes."""
    from fewmask.minvis.architecture import Architecture, build
    from fewmask.minvis.pretrained import save_small

    write_video(root / "clip.mp4", FRAMES)
    (root / "videos").mkdir()
    for number in range(4):
        write_scenery(root / "videos" / f"v{number}.mp4", 12 + 3 * number, number)
    for name, write in (("data", write_pictures), ("films", write_videos)):
        (root / name).mkdir()
        write(root / name)
    shape = Architecture(
        "timm:mobilenetv3_small_050", queries=6, width=32, encoder_layers=1, decoder_layers=1, feedforward=32
    )
    import torch

    torch.manual_seed(0)
    save_small(build(shape), shape, root / "weights", categories=["object"], short_side=64)
    for name, text in RECIPES.items():
        (root / f"{name}.toml").write_text(text)
    (root / "all.toml").write_text("score_threshold = 0.0\nkeep_every = 2\n")  # random weights are sure of nothing


def write_scenery(path: Path, frames: int, seed: int) -> None:
    """Two squares cross a scenery of the seed's own: a pool keeps no near-copies, so its videos must differ."""
    scenery = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    with VideoWriter(path, (64, 96), 10) as video:
        for index in range(frames):
            picture = cv2.resize(scenery, (96, 64), interpolation=cv2.INTER_CUBIC)
            picture[8:24, 4 + 2 * index : 20 + 2 * index] = (230, 40, 40)
            picture[36:56, 70 - 2 * index : 90 - 2 * index] = (30, 60, 220)
            video.write(picture)


_TRAIN = """
[{table}]
steps = 12
batch_size = 2
checkpoint_every = 3
log_every = 4
learning_rate = 1e-4
"""

RECIPES = {
    "minvis": TINY,
    "refine": "sizes = [[64, 64]]\npoints = 64\n" + _TRAIN.format(table="train"),
    "background": 'crop = 64\n[network]\nbackbone = "mobilenetv2_035"\nwidth = 8\nshort_side = 64\n'
    + _TRAIN.format(table="settings"),
    "vipmt": """
shots = 1
clips = 1
clip_length = 2
least_videos = 2
validation_episodes = 2
[network]
backbone = "mobilenet_v2"
fused_blocks = [3, 4]
channels = 16
feed_forward = 32
heads = 2
iterations = 1
prior_channels = 16
prior_features = "fused"
input_size = [48, 80]
clip_length = 2
memory_length = 0
iou_channels = 8
iou_hidden = 8
iou_grid = [2, 3]
"""
    + _TRAIN.format(table="train"),
    "selfshot": """
shots = 1
backbone_rate = 0.1
[network]
backbone = "mobilenet_v2"
width = 24
heads = 2
feed_forward = 32
encoder_layers = 1
fuser_layers = 1
decoder_layers = 1
slots = 3
frames = 4
support_frames = 2
size = [32, 48]
mask_levels = [16, 16, 8]
mask_channels = 8
"""
    + _TRAIN.format(table="train"),
    "clip-encoder": """
clips_per_video = 2
clip_pictures = 4
queue = 8
backbone_rate = 0.0
views = 2
[network]
backbone = "mobilenet_v2"
frames = 2
side = 32
dimension = 1280
"""
    + _TRAIN.format(table="train"),
    "maskrcnn": "short_side = 64\n" + _TRAIN.format(table="train").replace("steps = 12", "steps = 4"),
}

COMMON = ["--device", "cpu"]

SCENES = [
    Scene(
        "segment",
        lambda work, out: ["segment", str(work / "clip.mp4"), "--out", str(out), "--weights", str(work / "weights"),
                           "--batch", "4", "--min-score", "0", *COMMON],
    ),
    Scene(
        "segment --support",
        lambda work, out: ["segment", str(work / "videos" / "v0.mp4"), "--out", str(out), "--support",
                           str(demo_supports()), "--instances", "none", *COMMON],
    ),
    Scene(
        "segment --pool",
        lambda work, out: ["segment", str(work / "videos" / "v0.mp4"), "--out", str(out), "--pool",
                           str(work / "pool"), "-k", "2", "--instances", "none", *COMMON],
        needs=("pool",),
    ),
    Scene(
        "index",
        lambda work, out: ["index", str(work / "videos"), "--out", str(out), "--encoder", "fixed", *COMMON],
        resumes=(),
    ),
    Scene(
        "mine",
        lambda work, out: ["mine", str(work / "videos" / "v0.mp4"), str(work / "videos" / "v1.mp4"), "--out", str(out),
                           "--weights", str(work / "weights"), "--workers", "2", "-n", "3", "-k", "2",
                           "--keep-every", "2", *COMMON],
    ),
    Scene(
        "mine --refine",
        lambda work, out: ["mine", str(work / "videos" / "v0.mp4"), "--out", str(out), "--weights",
                           str(work / "weights"), "--workers", "1", "-n", "3", "-k", "2", "--settings",
                           str(work / "all.toml"), "--refine", "finetune", "--refine-recipe", str(work / "refine.toml"),
                           *COMMON],
    ),
    Scene(
        "train minvis",
        lambda work, out: ["train", "minvis", str(work / "minvis.toml"), "--data",
                           str(work / "data" / "instances.json"), "--out", str(out), *COMMON],
    ),
    Scene(
        "train background",
        lambda work, out: ["train", "background", str(work / "background.toml"), "--data",
                           str(work / "data" / "instances.json"), "--no-imagenet", "--out", str(out), *COMMON],
    ),
    Scene(
        "train selfshot",
        lambda work, out: ["train", "selfshot", str(work / "selfshot.toml"), "--data",
                           str(work / "films" / "instances.json"), "--out", str(out), *COMMON],
    ),
    Scene(
        "train clip-encoder",
        lambda work, out: ["train", "clip-encoder", str(work / "clip-encoder.toml"), str(work / "videos"), "--out",
                           str(out), *COMMON],
    ),
    Scene(
        "train vipmt",
        lambda work, out: ["train", "vipmt", str(work / "vipmt.toml"), "--data",
                           str(work / "films" / "instances.json"), "--backbone", str(imagenet()), "--out", str(out),
                           *COMMON],
    ),
    Scene(
        "train maskrcnn",
        lambda work, out: ["train", "maskrcnn", str(work / "maskrcnn.toml"), "--data",
                           str(work / "data" / "instances.json"), "--out", str(out), *COMMON],
    ),
    Scene(
        "synth",
        lambda work, out: ["synth", "--from", str(work / "data" / "instances.json"), "--out", str(out), "--videos", "6",
                           "--frames", "4", "--size", "64x64", "--min-side", "4", "--workers", "2",
                           "--background", "label"],
    ),
    Scene(
        "convert-data",
        lambda work, out: ["convert-data", str(work / "data" / "instances.json"), str(out), "--to", "folders",
                           "--single-frames", "--overlap", "smaller", "--drop-classes"],
        resumes=(), starts_over=True,
    ),
]  # fmt: skip


def demo_supports() -> Path:
    """Five pictures of persons with masks that ship with fewmask."""
    from importlib import resources

    return Path(str(resources.files("fewmask.vipmt") / "demo" / "person"))


def imagenet() -> Path:
    """A MobileNetV2 with ImageNet weights that ships with fewmask."""
    from importlib import resources

    return Path(str(resources.files("fewmask.retrieval") / "weights" / "mobilenet_v2_imagenet.safetensors"))


VOLATILE = {"seconds_per_step"}


def contents(out: Path) -> dict[str, Any]:
    """Every file of an output by name, without what says when it was made."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(out))
        if path.name == "manifest.json":
            manifest = json.loads(path.read_text())
            found[name] = {key: manifest[key] for key in ("status", "error", "inputs", "settings")}
        elif path.name == "log.csv":
            with path.open(newline="") as handle:
                rows = list(csv.DictReader(handle))
            found[name] = [{key: value for key, value in row.items() if key not in VOLATILE} for row in rows]
        elif path.suffix == ".pt":
            found[name] = tensors(path)
        elif path.suffix == ".spool":
            found[name] = records(path)
        elif path.name != "supports.png":
            found[name] = path.read_bytes()
    return found


def tensors(path: Path) -> dict[str, Any]:
    import torch

    state = torch.load(path, weights_only=True)
    return {"step": state["step"], **{name: value.numpy().tobytes() for name, value in state["network"].items()}}


def records(path: Path) -> list[Any]:
    """The frames alone: where states lie between them depends on where a run went on."""
    from fewmask.media.results import FrameResult
    from fewmask.media.spool import ResultSpool

    with ResultSpool(path) as spool:
        return [repr(record) for _, record in spool.records() if isinstance(record, FrameResult)]


def litter(root: Path) -> list[str]:
    """What nobody needs: half-written files and locks."""
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.name.startswith(".") and (".part" in path.name or path.name.endswith(".lock"))
    ]


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of the files that are missing, superfluous or other."""
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def random_moment(numbers: np.random.Generator, seconds: float) -> float:
    """Anywhere in a run of that length, its very beginning and end too."""
    return float(numbers.uniform(0, 1.05)) * seconds
