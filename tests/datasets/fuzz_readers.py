"""Mutates small datasets of every format and reads, uses and converts them: only FewmaskError may come out.

    python tests/datasets/fuzz_readers.py --seconds 600 --seed 0

Every case is a function of (seed, number) alone; a failure prints both, and --first NUMBER --cases 1 repeats it.
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
from pathlib import Path
from typing import Any

import numpy as np
from small_datasets import davis_tree, labelme_folder, mask_folders, save_picture, vspw_tree, ytvis_dataset

from fewmask.datasets.coco import read_coco, write_coco
from fewmask.datasets.convert import ConvertOptions, convert_data
from fewmask.datasets.davis import read_davis
from fewmask.datasets.episodes import episodes, read_episodes, write_episodes
from fewmask.datasets.presence import presence_of, read_presence, write_presence
from fewmask.datasets.sparse_frames import read_frame_lists, write_frame_lists
from fewmask.datasets.video_coco import frames_as_pictures
from fewmask.datasets.vspw import vspw_label_maps
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.errors import FewmaskError
from fewmask.exports.video_result import VideoResult
from fewmask.media import rle
from fewmask.media.results import Track

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3.0, 0.5, 1e308, -1e9, 1e9, 2**31, 2**63, 10**30, float("nan"), float("inf"),
    "", "a", "../../x", "/x", "C:\\x", "a\0b", "\ud800", "é" * 9, "o" * 40, "0" * 5000, [], [[]], {}, [None], [[1, 2]],
    [[1, 2, 3, 4, 5, 6]], {"size": [12, 16], "counts": "0"}, {"size": [12, 16], "counts": [192]},
    {"size": [1 << 20, 1 << 20], "counts": "P"},
    [[-1e3, 1e3] * 9], [0] * 300,
)  # fmt: skip
_TOOLS = ("cvat", "cvat_images", "label-studio")
FORMATS = ("ytvis", "coco", "davis", "vspw", "folders", "labelme")


def corpus(root: Path) -> dict[str, Path]:
    """One good dataset of every kind."""
    dataset = ytvis_dataset()
    for video in dataset.videos:
        for name in video.file_names:
            save_picture(root / "ytvis/JPEGImages" / name)
            save_picture(root / "coco/images" / name)
    write_ytvis(root / "ytvis/instances.json", dataset)
    write_coco(frames_as_pictures(dataset, Path()), root / "coco/instances.json")
    document = json.loads((root / "coco/instances.json").read_text())
    polygons = [[1, 1, 9, 1, 9, 9], [3.5, 3.5, 9, 3, 5, 11, 2, 2]]
    document["annotations"].append(document["annotations"][0] | {"id": 90, "segmentation": polygons, "image_id": 2})
    runs = {"size": [12, 16], "counts": [50, 20, 100, 22]}
    document["annotations"].append(document["annotations"][1] | {"id": 91, "segmentation": runs, "image_id": 3})
    (root / "coco/instances.json").write_text(json.dumps(document))
    davis_tree(root / "davis")
    vspw_tree(root / "vspw")
    mask_folders(root / "folders", videos=True)
    mask_folders(root / "flat", videos=False)
    labelme_folder(root / "labelme")
    annotation_tools(root)
    (root / "lists").mkdir()
    presence = presence_of(dataset)
    write_presence(root / "lists/presence.json", presence)
    found = episodes({1: {str(v): [0, 2] for v in range(7)}}, fold=1, classes=[1], runs=[0])
    write_episodes(root / "lists/episodes.json", found, protocol="II")
    write_frame_lists(root / "lists/sparse.json", {"a": 30, "b": 3}, 0.1)
    return {folder.name: folder for folder in root.iterdir()}


def annotation_tools(root: Path) -> None:
    """A result as CVAT (tracks; pictures with masks) and Label Studio export it."""
    masks = [np.zeros((12, 16), bool) for _ in range(3)]
    for step, mask in enumerate(masks):
        mask[2:8, 2 + step : 9 + step] = True
    tracks = (
        Track(2, 1, 0.9, tuple(map(rle.encode, masks))),
        Track(5, 2, 0.8, (None, rle.encode(masks[0]), None)),
    )
    video = VideoResult("clip", (12, 16), 3, tracks, {1: "cat", 2: "dog"})
    texts = {
        "cvat": video.to_cvat(),
        "cvat_images": video.to_cvat(exact=True),
        "label-studio": json.dumps(
            video.to_label_studio("clip.mp4", frames_url="/data/local-files/?d=run/images/clip")
        ),
    }
    for kind, text in texts.items():
        for index in range(3):
            save_picture(root / kind / "images" / "clip" / f"{index:05d}.jpg")
        (root / kind / f"annotations.{'json' if kind == 'label-studio' else 'xml'}").write_text(text)


def mutate(folder: Path, numbers: random.Random) -> None:
    """Change one to three files of a dataset: their structure, their bytes, their names, or that they exist."""
    for _ in range(numbers.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            return
        path = numbers.choice([path for path in files if path.suffix == ".json"] or files) \
            if numbers.random() < 0.5 else numbers.choice(files)  # fmt: skip
        if path.suffix == ".json" and numbers.random() < 0.7:
            change_structure(path, numbers)
            continue
        chance = numbers.random()
        if chance < 0.75:
            path.write_bytes(change_bytes(path.read_bytes(), numbers))
        elif chance < 0.85:
            path.unlink()
        elif chance < 0.95:
            path.rename(path.with_name(numbers.choice(("x.png", "0.json", "00000.jpg", "a b.png", "é.png", "1.txt"))))
        else:
            content = numbers.choice(files).read_bytes()
            path.with_suffix(numbers.choice((".png", ".jpg", ".json", ".txt"))).write_bytes(content)


def change_bytes(data: bytes, numbers: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(numbers.choice((1, 1, 2, 5))):
        place = numbers.randrange(len(changed) + 1)
        match numbers.randrange(5):
            case 0 if place < len(changed):
                changed[place] ^= 1 << numbers.randrange(8)
            case 1:
                del changed[place : place + numbers.choice((1, 4, 100))]
            case 2:
                changed[place:place] = numbers.randbytes(numbers.choice((1, 4, 30)))
            case 3:
                changed = changed[: max(place, 1)]
            case _:
                other = numbers.randrange(len(changed) + 1)
                changed[place:place] = changed[other : other + 40]
    return bytes(changed)


def change_structure(path: Path, numbers: random.Random) -> None:
    """Replace, delete, repeat or move values anywhere in a JSON file."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    for _ in range(numbers.choice((1, 1, 1, 2, 3))):
        places = list(walk(document))
        if not places:
            break
        holder, key = numbers.choice(places)
        if isinstance(holder, dict) and numbers.random() < 0.1:
            holder["unknown key"] = copy.deepcopy(numbers.choice(STRANGE))
            continue
        match numbers.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(numbers.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
            case 2:
                other, at = numbers.choice(places)
                holder[key] = copy.deepcopy(other[at])
            case 3 if type(holder[key]) is int:
                holder[key] += numbers.choice((-1, 1, 2, 1000, -(2**40)))
            case 3 if type(holder[key]) is str:
                holder[key] = change_bytes(holder[key].encode("utf-8", "replace"), numbers).decode("latin-1")
            case _:
                holder[key] = copy.deepcopy(numbers.choice(STRANGE))
    path.write_text(json.dumps(document))


def walk(value: Any) -> Any:
    """(holder, key) of every value in a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from walk(value[key])


def use(kind: str, folder: Path, out: Path, numbers: random.Random) -> None:
    """Read the dataset, look at every mask, and convert it to something else."""
    if kind == "lists":
        readers: tuple[Callable[[Path], object], ...] = (read_presence, read_episodes, read_frame_lists)
        for name, reader in zip(("presence", "episodes", "sparse"), readers, strict=True):
            if (folder / f"{name}.json").exists():
                reader(folder / f"{name}.json")
        return
    source = folder / "instances.json" if kind in ("ytvis", "coco") else folder
    if kind in _TOOLS:
        source = folder / f"annotations.{'json' if kind == 'label-studio' else 'xml'}"
    if kind == "coco":
        dataset = read_coco(source)
        assert all(rle.decode(annotation.mask).shape == annotation.size for annotation in dataset.annotations)
        for image in dataset.images:
            dataset.path_of(image)
    elif kind == "ytvis":
        for track in read_ytvis(source).annotations:
            rle.decode_many([mask for mask in track.segmentations if mask is not None])
    elif kind == "vspw":
        for _ in vspw_label_maps(folder):
            pass
    elif kind == "davis":
        read_davis(folder, subset=numbers.choice(("train", "val", "old", None)))
    target_format = numbers.choice(FORMATS[:-1]) if numbers.random() < 0.98 else "labelme"
    options = ConvertOptions(
        subset=numbers.choice((None, None, "val")),
        frames=numbers.choice(("copy", "link", "none")),
        overlap=numbers.choice(("refuse", "smaller")),
        single_frames=numbers.random() < 0.3,
        drop_classes=numbers.random() < 0.9,
    )
    known = {"flat": "folders", "cvat_images": "cvat"}.get(kind, kind)
    detected = None if numbers.random() < 0.5 else known
    target = out / ("x.json" if target_format in ("ytvis", "coco") else "x")
    convert_data(source, target, source_format=detected, target_format=target_format, options=options)  # type: ignore[arg-type]
    if target_format == "ytvis":
        read_ytvis(target)
    elif target_format == "coco":
        read_coco(target)


def fuzz(
    *, seed: int, first: int = 0, cases: int | None = None, seconds: float | None = None, log: Path | None = None
) -> Counter[str]:
    """Run cases ``first``, ``first`` + 1, ...; the number read and the number refused by kind.

    Raises:
        AssertionError: something other than a FewmaskError came out, or a message of more than one line.
    """
    counts: Counter[str] = Counter()
    started = time.monotonic()
    number = first
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # most of the time would go into making folders
    with tempfile.TemporaryDirectory(dir=memory) as name, warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="__array__ implementation")
        root = Path(name)
        good = corpus(root / "good")
        while (cases is None or number < first + cases) and (seconds is None or time.monotonic() - started < seconds):
            numbers = random.Random(f"{seed} {number}")
            kind = numbers.choice(sorted(good))
            case = root / "case"
            shutil.copytree(good[kind], case / kind)
            (case / "out").mkdir()
            mutate(case / kind, numbers)
            if log is not None:
                log.write_text(f"seed {seed} case {number} kind {kind}\n")
            begun = time.monotonic()
            message = ""
            try:
                use(kind, case / kind, case / "out", numbers)
                counts[f"{kind} read"] += 1
            except FewmaskError as error:
                counts[f"{kind} refused"] += 1
                message = str(error)
            except Exception as error:
                raise AssertionError(f"seed {seed} case {number} ({kind}): {type(error).__name__}: {error}") from error
            left = [path for path in (case / "out").rglob("*") if ".part" in path.name]
            assert "\n" not in message, f"seed {seed} case {number}: {message!r} is not one line"
            assert not left, f"seed {seed} case {number}: left {left}"
            took = time.monotonic() - begun
            assert took < 60, f"seed {seed} case {number} ({kind}): took {took:.0f} s"
            shutil.rmtree(case)
            number += 1
    counts["cases"] = number - first
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--log", type=Path, help="file that names the running case, should the process die")
    options = parser.parse_args()
    faulthandler.enable()
    try:
        counts = fuzz(**vars(options))
    except AssertionError:
        traceback.print_exc()
        return 1
    for key, count in sorted(counts.items()):
        print(f"{key}: {count}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
