"""Pools of videos in which one kind of object hides, with the truth: made by `fewmask synth`, or DAVIS among clips.

A scene is a folder: ``pool/`` with short H.264 clips of the kind and of other things, ``held_out/`` with further clips
of the kind that nothing may learn from, ``like/`` with two masked pictures of the kind from elsewhere, and
``scene.json`` with every true mask.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.datasets.coco import read_coco
from fewmask.datasets.draws import draw
from fewmask.datasets.synth import synthesise
from fewmask.datasets.synth_config import SynthConfig
from fewmask.datasets.ytvis import read_ytvis
from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.media.image_pixels import read_rgb
from fewmask.media.rle import Rle
from fewmask.media.writer import VideoWriter
from fewmask.pipelines.grow.support_pictures import Example, write_supports
from fewmask.vipmt.support import read_mask

KINDS = {  # what is hidden: words of COCO for the pictures shown, and the sequences of DAVIS that show it
    "bird": (("bird",), ("flamingo", "mallard-fly", "mallard-water")),
    "car": (("car",), ("car-turn", "drift-turn")),
    "rider": (("motorcycle", "bicycle"), ("motocross-bumps", "motorbike", "bmx-bumps", "scooter-gray")),
}
AREA = (0.04, 0.6)
"""Share of a picture that is shown which the kind covers."""
SIZE = (192, 320)
PLACES = {"train": "pool", "val": "held_out"}


@dataclass(frozen=True)
class Clip:
    """A clip and the truth about the kind in it: by object, by frame, its mask; None where nobody knows."""

    name: str
    source: Path
    size: tuple[int, int]
    length: int
    objects: list[dict[int, Rle]] | None


@dataclass(frozen=True)
class Scene:
    """Where one kind hides."""

    kind: str
    folder: Path
    pool: list[Clip]
    held_out: list[Clip]

    @property
    def like(self) -> Path:
        """Two masked pictures."""
        return self.folder / "like"

    @property
    def showing(self) -> list[Clip]:
        """The clips of the pool in which the kind is known to be."""
        return [clip for clip in self.pool if clip.objects]


def synth_scene(arguments: argparse.Namespace, seed: int, folder: Path) -> Scene:
    """Copy-paste videos: ``--clips`` in the pool, a third of them with the kind, and others of the kind held out.

    All objects are cut from pictures whose id 5 divides, which no bundled network has learned from; those of the pool
    and of the held-out clips from different ones.
    """
    if (folder / "scene.json").exists():
        return read_scene(folder)
    document = json.loads((arguments.coco / "instances.json").read_text(encoding="utf-8"))
    images = [i for i in document["images"] if i["id"] % 5 == 0 and i.get("all80", True)]
    ids = {image["id"] for image in images}
    annotations = [a for a in document["annotations"] if a["image_id"] in ids]
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "unseen.json"
    source.write_text(json.dumps(document | {"images": images, "annotations": annotations}))
    kind = arguments.kinds[seed % len(arguments.kinds)]
    config = SynthConfig(frames=arguments.frames, height=SIZE[0], width=SIZE[1], objects=(1, 2),
                         classes_per_video=(1, 1), object_size=(0.35, 0.8), background="inpaint")  # fmt: skip

    def made(name: str, part: str, count: int, number: int, *, of_kind: bool) -> list[Clip]:
        chosen = {"classes": [kind]} if of_kind else {"hold_out_classes": [kind]}
        path = synthesise(
            source, arguments.coco / "images", folder / name, videos=count, seed=100 * seed + number, config=config,
            part=part, min_side=32.0, resume=(folder / name).exists(), **chosen,
        )  # fmt: skip
        return list(_clips(path, folder / PLACES[part], name, of_kind))

    with_kind = max(2, round(arguments.clips / 3))
    pool = made("with", "train", with_kind, 1, of_kind=True)
    pool += made("without", "train", max(1, arguments.clips - with_kind), 2, of_kind=False)
    held_out = made("unseen", "val", arguments.held_out, 3, of_kind=True)
    return _write(folder, kind, pool, held_out, arguments.coco, (kind,), seed)


def davis_scene(arguments: argparse.Namespace, seed: int, folder: Path) -> Scene:
    """DAVIS videos of a kind among the clips of a pool; one of them, another with every seed, is held out.

    Nobody knows what the clips of the pool show: they count in nothing but in time.
    """
    if (folder / "scene.json").exists():
        return read_scene(folder)
    words, sequences = KINDS[arguments.davis_kind]
    unseen = sequences[seed % len(sequences)]
    clips: dict[str, Clip] = {}
    for name in sequences:
        frames = sorted((arguments.davis / "JPEGImages" / name).glob("*.jpg"))
        chosen = _spread(frames, arguments.frames)
        masks = [read_mask(arguments.davis / "Annotations" / name / f"{path.stem}.png") for path in chosen]
        truth = {t: rle.encode(_even(mask)) for t, mask in enumerate(masks) if mask.any()}
        place = folder / ("held_out" if name == unseen else "pool") / f"{name}.mp4"
        clips[name] = _clip(place, [_even(read_rgb(path)) for path in chosen], [truth])
    pool = [clip for name, clip in clips.items() if name != unseen]
    others = sorted(arguments.pool.glob("*.mp4"))
    for place in draw(range(len(others)), min(len(others), max(0, arguments.clips - len(pool))), "grow pool", seed):
        with open_frames(others[place], skip_broken=True) as source:
            shown = [_even(frame.rgb) for _, frame in zip(range(arguments.frames), source, strict=False)]
        pool.append(_clip(folder / "pool" / others[place].name, shown, None))
    return _write(folder, arguments.davis_kind, pool, [clips[unseen]], arguments.coco, words, seed)


def read_scene(folder: Path) -> Scene:
    """What was written."""
    record = json.loads((folder / "scene.json").read_text(encoding="utf-8"))

    def clips(part: str) -> list[Clip]:
        return [
            Clip(entry["name"], folder / part / f"{entry['name']}.mp4", tuple(entry["size"]), entry["length"],
                 None if entry["objects"] is None else
                 [{int(t): {"size": entry["size"], "counts": counts} for t, counts in masks.items()}
                  for masks in entry["objects"]])
            for entry in record[part]
        ]  # fmt: skip

    return Scene(record["kind"], folder, clips("pool"), clips("held_out"))


def true_pictures(scene: Scene, count: int, folder: Path) -> Path:
    """Masked pictures of the kind from the pool as a user would make them: of different clips, its largest object."""
    examples = []
    for turn in range(count):
        clip = scene.showing[turn % len(scene.showing)]
        areas = {(rle.area(mask), o, t) for o, masks in enumerate(clip.objects or ()) for t, mask in masks.items()}
        rank = min((turn // len(scene.showing)) * 2, len(areas) - 1)
        _, place, wanted = sorted(areas, reverse=True)[rank]
        with open_frames(clip.source) as frames:
            rgb = next(frame.rgb for frame in frames if frame.index == wanted)
        examples.append(Example(rgb, (clip.objects or [])[place][wanted], f"{clip.name}, frame {wanted}"))
    return write_supports(folder, scene.kind, examples)


def _write(
    folder: Path, kind: str, pool: list[Clip], held_out: list[Clip], coco: Path, words: Sequence[str], seed: int
) -> Scene:
    return write_scene(folder, kind, pool, held_out, _shown(coco, words, 2, seed))


def write_scene(folder: Path, kind: str, pool: list[Clip], held_out: list[Clip], shown: Sequence[Example]) -> Scene:
    """Write what is not there yet: the pictures that are shown and the truth; the clips lie in their folders."""
    write_supports(folder / "like", kind, shown)
    record: dict[str, Any] = {"kind": kind}
    for part, clips in (("pool", pool), ("held_out", held_out)):
        record[part] = [
            {"name": clip.name, "size": clip.size, "length": clip.length,
             "objects": None if clip.objects is None else
             [{str(t): mask["counts"] for t, mask in masks.items()} for masks in clip.objects]}
            for clip in clips
        ]  # fmt: skip
    (folder / "scene.json").write_text(json.dumps(record))
    return Scene(kind, folder, pool, held_out)


def _shown(coco: Path, words: Sequence[str], count: int, seed: int) -> list[Example]:
    """Pictures with one object of the kind, of a fitting size; none of them can be in a synthetic video."""
    dataset = read_coco(coco / "instances.json", coco / "images")
    wanted = {key for key, name in dataset.categories.items() if name in words}
    found = []
    for image in dataset.images:
        own = [a for a in dataset.annotations_of[image.id] if a.category_id in wanted]
        share = rle.area(own[0].mask) / (image.height * image.width) if len(own) == 1 else 0.0
        if image.id % 5 and AREA[0] <= share <= AREA[1] and not own[0].iscrowd:
            found.append((image, own[0]))
    places = draw(range(len(found)), min(count, len(found)), "grow shown", seed, *words)
    return [Example(read_rgb(dataset.path_of(found[p][0])), found[p][1].mask, found[p][0].file_name) for p in places]


def _clips(instances: Path, place: Path, name: str, of_kind: bool) -> Iterable[Clip]:
    dataset = read_ytvis(instances)
    for number, video in enumerate(dataset.videos):
        frames = [read_rgb(instances.parent / "JPEGImages" / file) for file in video.file_names]
        own = [a for a in dataset.annotations if a.video_id == video.id] if of_kind else []
        objects = [{t: mask for t, mask in enumerate(a.segmentations) if mask is not None} for a in own]
        yield _clip(place / f"{name}_{number:02d}.mp4", frames, [masks for masks in objects if masks])


def _clip(path: Path, frames: Sequence[np.ndarray], objects: list[dict[int, Rle]] | None) -> Clip:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (frames[0].shape[0], frames[0].shape[1])
    with VideoWriter(path, size, 8) as video:
        for rgb in frames:
            video.write(np.ascontiguousarray(rgb))
    return Clip(path.stem, path, size, len(frames), objects)


def _even(picture: np.ndarray) -> np.ndarray:
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    return [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int).tolist()]
