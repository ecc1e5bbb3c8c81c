"""Damages every file that fewmask writes for itself and reads it again: only FewmaskError may come out, on one line.

    python tests/trust/fuzz_own_files.py --seconds 600 --family weights

Every case is a function of (seed, family, number) alone; --first NUMBER --cases 1 repeats one.
"""

import argparse
import copy
import faulthandler
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import more_families as more
import numpy as np
from fuzz_readers import STRANGE, change_bytes, walk

from fewmask.errors import FewmaskError

MORE_STRANGE: tuple[Any, ...] = (
    *STRANGE, "a\nb", "\x1b[2J", 10**9, 2**31 - 1, -(10**30), "http://u:secret@h/?token=secret", ["a"] * 50,
    {"a": {"b": {"c": []}}}, "timm:nothing", "tiny_vit_5m", [10**9, 10**9],
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """``make`` writes good files into a folder, ``read`` reads and uses them as the program does."""

    make: Callable[[Path], None]
    read: Callable[[Path], object]


def make_run(folder: Path) -> None:
    from fewmask.media import rle
    from fewmask.media.results import FrameResult
    from fewmask.media.run_directory import RunDirectory

    (folder / "in.bin").write_bytes(b"1" * 50)
    mask = rle.encode(np.eye(6, 7))
    with start_run(folder, RunDirectory) as run:
        for index in range(6):
            run.spool.append(index, FrameResult(index, (6, 7), (1, 5), (1, 2), (0.1, -3.5), (mask, None), index / 30))
            run.spool.append(index, {"state": {"a": [index, None]}})
        run.update({"frames": 6})


def start_run(folder: Path, kind: Any) -> Any:
    return kind.create(
        folder / "run", command=["x"], inputs={"source": folder / "in.bin", "n": [1, {"a": 2}]},
        settings={"seed": 1, "top": [1, 2]}, resume=True,
    )  # fmt: skip


def read_run(folder: Path) -> None:
    from fewmask.media.run_directory import RunDirectory

    with start_run(folder, RunDirectory) as run:
        for _ in run.spool.records():
            pass
        run.update({"frames": run.manifest["progress"].get("frames", 0)})
        run.finish()


def make_mined(folder: Path) -> None:
    from fewmask.media import rle
    from fewmask.media.atomic import write_json
    from fewmask.mining.mined_video import MinedMask, MinedVideo

    frames = []
    for t in range(4):
        bitmap = np.zeros((24, 32), bool)
        bitmap[4:12, 4 + t : 14 + t] = True
        frames.append((MinedMask(1, rle.encode(bitmap), 0.9, 0.8, 0.7, 0, None if t else 0.5),))
    video = MinedVideo("a", "a.mp4", (24, 32), 10.0, tuple(frames), 1.5, 3, 9, 12)
    video.write(folder / "results" / "a.json")
    write_json(folder / "manifest.json", {"progress": {"names": ["a"]}, "settings": {"keep_every": 2}})
    (folder / "instances.json").write_text("{}")
    (folder / "review.json").write_text(json.dumps({"accepted": [["a", 1]], "rejected": [["a", 2]]}))
    for index in (0, 2):
        path = folder / "images" / "a" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        from PIL import Image

        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(path)


def read_mined(folder: Path) -> None:
    from fewmask.mining.mine_videos import apply_review
    from fewmask.mining.mined_dataset import write_exports
    from fewmask.mining.mined_video import MinedVideo

    apply_review(folder, folder / "review.json", only_accepted=True)
    write_exports(folder, MinedVideo.read(folder / "results" / "a.json"), 1)


def make_recipes(folder: Path) -> None:
    recipes = Path(__file__).parents[2] / "recipes"
    for path in sorted(recipes.rglob("*.toml")):
        shutil.copy(path, folder / f"{path.parent.name}-{path.name}")
    (folder / "settings.toml").write_text("proposals = 12\nkeep_every = 3\nscore_threshold = 0.5\ndisjoint = true\n")


def read_recipes(folder: Path) -> None:
    from fewmask.media.own_files import read_toml
    from fewmask.mining.background_train import BackgroundRecipe
    from fewmask.mining.settings import MiningSettings
    from fewmask.minvis.train import MinvisRecipe
    from fewmask.retrieval.train import ClipEncoderRecipe
    from fewmask.selfshot.train import TransformerRecipe
    from fewmask.vipmt.recipe import VIPMTRecipe

    kinds: tuple[Any, ...] = (
        MinvisRecipe, BackgroundRecipe, MiningSettings, VIPMTRecipe, TransformerRecipe, ClipEncoderRecipe
    )  # fmt: skip
    told = []
    for path in sorted(folder.glob("*.toml")):
        for kind in kinds:
            try:
                read_toml(path, kind, "see recipes/")
            except FewmaskError as error:
                check_message(str(error))
                told.append(str(error))
    raise FewmaskError(told[0])


def make_weights(folder: Path) -> None:
    from fewmask.mining.background_net import BackgroundNet, BackgroundNetConfig
    from fewmask.minvis.architecture import Architecture, build
    from fewmask.minvis.pretrained import save_small
    from fewmask.retrieval.encoder import ClipNetwork, EncoderConfig, save_encoder
    from fewmask.selfshot.pretrained import save_transformer
    from fewmask.selfshot.transformer import CommonInstanceTransformer, TransformerConfig

    shape = Architecture("timm:mobilenetv2_035", queries=3, width=32, encoder_layers=1, decoder_layers=1, feedforward=8)
    save_small(build(shape), shape, folder / "minvis", categories=["object"], short_side=32)
    BackgroundNet(BackgroundNetConfig(backbone="mobilenetv2_035", width=8, short_side=32)).save_pretrained(
        folder / "background.safetensors"
    )
    tiny = EncoderConfig(backbone="mobilenetv2_035", side=32, dimension=1280, frames=2)
    save_encoder(ClipNetwork(tiny), folder / "encoder")
    small = TransformerConfig(
        backbone="mobilenet_v2", width=24, heads=2, feed_forward=16, encoder_layers=1, fuser_layers=1, decoder_layers=1,
        slots=2, frames=2, support_frames=2, size=(32, 32), mask_levels=(8, 8, 8), mask_channels=8,
    )  # fmt: skip
    save_transformer(CommonInstanceTransformer(small), folder / "transformer")


def read_weights(folder: Path) -> None:
    """Those that were damaged alone, as told by what they hold: building the others is what takes time."""
    from fewmask.mining.background_net import BackgroundNet
    from fewmask.minvis.pretrained import load_small
    from fewmask.retrieval.encoder import ClipEncoder
    from fewmask.selfshot.pretrained import load_transformer

    readers: dict[str, Callable[[Path], object]] = {
        "minvis": load_small, "encoder": ClipEncoder.from_pretrained, "transformer": load_transformer,
        "background.safetensors": BackgroundNet.from_pretrained,
    }  # fmt: skip
    for name, reader in readers.items():
        if name in more.changed_in(folder):
            reader(folder / name)


def make_training(folder: Path) -> None:
    import torch
    from line_task import Line, settings

    from fewmask.training.loop import train

    train(Line(), settings(steps=8), folder, device=torch.device("cpu"))


def read_training(folder: Path) -> None:
    import torch
    from line_task import Line, settings

    from fewmask.training.loop import train

    train(Line(), settings(steps=9, checkpoint_every=1), folder, device=torch.device("cpu"), resume=True)


def make_synth(folder: Path) -> None:
    (folder / "records").mkdir()
    for index in range(3):
        video = {"id": index + 1, "width": 8, "height": 8, "length": 2, "file_names": ["0.jpg", "1.jpg"]}
        annotation = {"video_id": index + 1, "category_id": 1, "segmentations": [None, None]}
        (folder / "records" / f"{index:05}.json").write_text(json.dumps({"video": video, "annotations": [annotation]}))


def read_synth(folder: Path) -> None:
    from fewmask.datasets.synth import _write_instances

    _write_instances(folder / "instances.json", folder, 3, [{"id": 1, "name": "a"}], agnostic=True)


def make_frames(folder: Path) -> None:
    import cv2

    from fewmask.retrieval.frame_store import StoredVideo, _save

    picture = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    _save(folder / "a.npz", StoredVideo((picture, picture), np.array([0, 1])))


def read_frames(folder: Path) -> None:
    from fewmask.retrieval.frame_store import _load

    stored = _load(folder / "a.npz")
    if stored is None:
        raise FewmaskError("made again")
    stored.picture(0)


def make_facts(folder: Path) -> None:
    facts = {"name": "a", "height": 6, "width": 7, "fps": 10.0, "file_names": None, "categories": {"1": "object"},
             "length": 6, "known_frames": None, "shown": [1]}  # fmt: skip
    (folder / "video.json").write_text(json.dumps(facts))


def read_facts(folder: Path) -> None:
    from fewmask.media.video_facts import VideoFacts

    VideoFacts.read(folder)


FAMILIES = {
    "run": Family(make_run, read_run),
    "mined": Family(make_mined, read_mined),
    "recipes": Family(make_recipes, read_recipes),
    "weights": Family(make_weights, read_weights),
    "training": Family(make_training, read_training),
    "synth": Family(make_synth, read_synth),
    "frames": Family(make_frames, read_frames),
    "facts": Family(make_facts, read_facts),
    "results": Family(more.make_results, more.read_results),
    "corrections": Family(more.make_corrections, more.read_corrections),
    "result-cache": Family(more.make_cache, more.read_cache),
    "grow": Family(more.make_grow, more.read_grow),
    "many": Family(more.make_many, more.read_many),
    "studio": Family(more.make_studio, more.read_studio),
    "old-pools": Family(more.make_old_pools, more.read_old_pools),
    "films": Family(more.make_films, more.read_films),
    "supports": Family(more.make_supports, more.read_supports),
    "vipmt": Family(more.make_vipmt, more.read_vipmt),
}


def damage(folder: Path, numbers: random.Random) -> None:
    """Change one or two files: their structure, their bytes, or that they exist."""
    more.changed.clear()
    for _ in range(numbers.choice((1, 1, 1, 2))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "in.bin")
        if not files:
            return
        path = numbers.choice(files)
        more.changed.add(str(path))
        chance = numbers.random()
        if path.suffix == ".json" and chance < 0.7:
            change_structure(path, numbers)
        elif path.suffix == ".safetensors" and chance < 0.3:
            change_head(path, numbers)
        elif chance < 0.95:
            path.write_bytes(change_bytes(path.read_bytes(), numbers))
        elif chance < 0.98:
            path.unlink()
        else:
            path.write_bytes(numbers.choice(files).read_bytes())


def change_structure(path: Path, numbers: random.Random) -> None:
    """Replace, delete, repeat or move values anywhere in a JSON file."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    for _ in range(numbers.choice((1, 1, 2, 3))):
        places = list(walk(document))
        if not places:
            break
        holder, key = numbers.choice(places)
        match numbers.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(numbers.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
            case 1:
                holder["unknown key"] = copy.deepcopy(numbers.choice(MORE_STRANGE))
            case 2:
                other, at = numbers.choice(places)
                holder[key] = copy.deepcopy(other[at])
            case 3 if type(holder[key]) is int:
                holder[key] += numbers.choice((-1, 1, 2, 1000, -(2**40)))
            case _:
                holder[key] = copy.deepcopy(numbers.choice(MORE_STRANGE))
    text = json.dumps(document)
    if numbers.random() < 0.02:
        text = "[" * numbers.choice((200, 5000, 200_000)) + text
    path.write_text(text)


def change_head(path: Path, numbers: random.Random) -> None:
    """Damage the JSON at the beginning of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = change_bytes(data[8 : 8 + length], numbers)
    told = len(head) if numbers.random() < 0.8 else numbers.choice((0, 1, 2**40, 2**63))
    path.write_bytes(told.to_bytes(8, "little") + head + data[8 + length :])


def check_message(message: str) -> None:
    assert message
    assert not set(message) & {"\n", "\r", "\x1b", "\x85", "\u2028"}, f"{message!r} is not one line"
    assert len(message) <= 1500, f"{len(message)} characters: {message[:300]!r}"


def fuzz(
    *, family: str, seed: int = 0, first: int = 0, cases: int | None = None, seconds: float | None = None,
    log: Path | None = None,
) -> Counter[str]:  # fmt: skip
    """Run cases ``first``, ``first`` + 1, ...; how many were read and how many refused.

    Raises:
        AssertionError: something other than a FewmaskError came out, or a message of more than one line.
    """
    counts: Counter[str] = Counter()
    started = time.monotonic()
    number = first
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        good, case = Path(name) / "good", Path(name) / "case"
        good.mkdir()
        FAMILIES[family].make(good)
        while (cases is None or number < first + cases) and (seconds is None or time.monotonic() - started < seconds):
            numbers = random.Random(f"{seed} {family} {number}")
            shutil.copytree(good, case)
            damage(case, numbers)
            if log is not None:
                log.write_text(f"{family} seed {seed} case {number}\n")
            try:
                FAMILIES[family].read(case)
                counts["read"] += 1
            except FewmaskError as error:
                counts["refused"] += 1
                check_message(str(error))
            except BaseException as error:
                raise AssertionError(
                    f"{family} seed {seed} case {number} ({sorted(more.changed)}): {type(error).__name__}: {error}"
                ) from error
            shutil.rmtree(case)
            number += 1
    counts["cases"] = number - first
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=sorted(FAMILIES))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--log", type=Path, help="file that names the running case, should the process die")
    options = parser.parse_args()
    faulthandler.enable()
    failed = False
    for family in [options.family] if options.family else sorted(FAMILIES):
        try:
            counts = fuzz(**{**vars(options), "family": family})
            print(family, dict(counts))  # noqa: T201
        except AssertionError:
            traceback.print_exc()
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
