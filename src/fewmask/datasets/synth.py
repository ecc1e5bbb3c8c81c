"""Copy-paste videos from any COCO-format dataset: real objects moving over real images, with exact masks and ids.

`synthesise` writes a dataset in YouTube-VIS format; `synth_video.synthetic_video` makes one video in memory. Every
video is drawn from (seed, its number) alone, so that it does not matter how many processes make how many videos.
"""

import json
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fewmask.datasets.coco import CocoDataset, read_coco
from fewmask.datasets.copy_paste import CutOuts, Part, load_cut_outs
from fewmask.datasets.synth_background import Backgrounds, load_backgrounds
from fewmask.datasets.synth_config import SynthConfig
from fewmask.datasets.synth_files import VideoFormat, record_path, write_video
from fewmask.datasets.synth_video import SyntheticVideo, plan_video, synthetic_video
from fewmask.errors import ConfigError, DatasetError
from fewmask.media.atomic import whole_file
from fewmask.media.own_files import read_json
from fewmask.media.processes import outcomes
from fewmask.media.run_directory import RunDirectory

__all__ = ["SynthConfig", "SyntheticVideo", "category_ids_of", "synthesise", "synthetic_video"]

_AGNOSTIC = {"id": 1, "name": "object"}


@dataclass(frozen=True)
class _Job:
    """What a worker process needs to make any video of the run."""

    coco: str
    images_root: str | None
    out: str
    seed: int
    config: SynthConfig
    categories: frozenset[int]
    annotation_ids: frozenset[int]
    part: Part
    video_format: VideoFormat


def synthesise(
    coco: str | Path,
    images_root: str | Path | None,
    out: str | Path,
    *,
    videos: int,
    seed: int,
    config: SynthConfig | None = None,
    classes: Collection[str] | None = None,
    hold_out_classes: Collection[str] = (),
    part: Part = "all",
    min_side: float = 32.0,
    class_agnostic: bool = False,
    video_format: VideoFormat = "jpg",
    workers: int = 1,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a dataset of synthetic videos; the same arguments give the same bytes, whatever ``workers`` is.

    Args:
        coco: a COCO instances file.
        images_root: folder of its images; None for the folder ``images`` beside the file, or the file's own.
        out: new or empty folder, or with ``resume`` the folder of an earlier run with the same settings (``videos`` may
            grow).
        videos: how many.
        seed: 0 or more.
        config: how a video looks; by default `SynthConfig()`.
        classes: names or ids of the classes in use; by default all.
        hold_out_classes: classes never used, neither as objects nor, under the default background rule, visible.
        part: "train" and "val" draw objects and backgrounds from disjoint images.
        min_side: smallest object that is cut out, as the square root of its area in pixels.
        class_agnostic: write one category, ``object``, instead of the dataset's.
        video_format: "jpg" for a folder of frames per video, "mp4" for one H.264 file (even frame size).
        workers: processes; with more than one, a script must call this under ``if __name__ == "__main__"``.
        resume: go on with what ``out`` holds.
        progress: called with (videos finished, videos) after every video.

    Returns:
        The path of ``instances.json``, in YouTube-VIS format with the OVIS field ``occlusion`` and, per frame,
        ``occlusion_scores``: the share in [0, 1] of the object's pixels inside the frame that others hide.

    Raises:
        ConfigError: settings that cannot work, or other settings than the folder was begun with.
        DatasetError: the dataset cannot be read, or has no object or background that fits.
        FewmaskError: ``out`` is not empty, or cannot be written.
    """
    config = config or SynthConfig()
    _check(videos, seed, workers, video_format, config)
    dataset = read_coco(coco, images_root)
    categories = frozenset(dataset.categories) if classes is None else category_ids_of(dataset, classes)
    categories -= category_ids_of(dataset, hold_out_classes)
    if not categories:
        raise ConfigError("no class is left to use; hold out fewer")
    cut_outs = load_cut_outs(dataset, categories=categories, part=part, min_side=min_side)
    job = _Job(
        coco=str(coco),
        images_root=None if images_root is None else str(images_root),
        out=str(out),
        seed=seed,
        config=config,
        categories=categories,
        annotation_ids=frozenset(cut_outs.annotation_ids),
        part=part,
        video_format=video_format,
    )
    used = set(cut_outs.category_ids)
    names = [{"id": key, "name": name} for key, name in dataset.categories.items() if key in used]
    if config.background == "label":
        names = [{"id": key, "name": name} for key, name in dataset.categories.items() if key in categories]
    settings = {
        "seed": seed,
        "config": asdict(config),
        "categories": [category["id"] for category in names],
        "part": part,
        "min_side": min_side,
        "class_agnostic": class_agnostic,
        "format": video_format,
    }
    run = RunDirectory.create(
        out, command=["fewmask", "synth"], inputs={"source": Path(coco)}, settings=settings, resume=resume
    )
    with run:
        folder = run.path
        missing = [index for index in range(videos) if not record_path(folder, index).exists()]
        with closing(_make(job, dataset, missing, workers)) as made:
            for done, _ in enumerate(made, videos - len(missing) + 1):
                if progress is not None:
                    progress(done, videos)
        path = folder / "instances.json"
        _write_instances(path, folder, videos, [_AGNOSTIC] if class_agnostic else names, agnostic=class_agnostic)
        run.update({"videos": videos})
        run.finish()
    return path


def category_ids_of(dataset: CocoDataset, classes: Collection[str]) -> frozenset[int]:
    """The ids of classes given by name or by id.

    Raises:
        ConfigError: the dataset has no such class.
    """
    id_of = {str(key): key for key in dataset.categories} | {name: key for key, name in dataset.categories.items()}
    unknown = [name for name in classes if name not in id_of]
    if unknown:
        raise ConfigError(f"no class {unknown[0]!r}; the dataset has {', '.join(dataset.categories.values())}")
    return frozenset(id_of[name] for name in classes)


def _check(videos: int, seed: int, workers: int, video_format: str, config: SynthConfig) -> None:
    for name, value, low in (("videos", videos, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < low:
            raise ConfigError(f"{name} must be {low} or more, not {value}")
    if video_format not in ("jpg", "mp4"):
        raise ConfigError(f"the format must be jpg or mp4, not {video_format!r}")
    if video_format == "mp4" and (config.height % 2 or config.width % 2):
        raise ConfigError(f"mp4 needs an even frame size, not {config.height}x{config.width}; use jpg")


def _make(job: _Job, dataset: CocoDataset, indices: Sequence[int], workers: int) -> Generator[None, None, None]:
    """Make the videos, and tell of each when its record is there."""
    workers = min(workers, max(len(indices), 1))
    make_work = (lambda: _Studio(job, dataset).make) if workers == 1 else partial(_open_studio, job)
    return outcomes(indices, make_work, workers=workers)


class _Studio:
    """The sources of a run, opened once per process."""

    def __init__(self, job: _Job, dataset: CocoDataset) -> None:
        self.job = job
        self.cut_outs = CutOuts(dataset, [a for a in dataset.annotations if a.id in job.annotation_ids])
        self.backgrounds: Backgrounds = load_backgrounds(
            dataset, rule=job.config.background, categories=job.categories, part=job.part
        )

    def make(self, index: int) -> None:
        plan = plan_video(self.cut_outs, self.backgrounds, self.job.config, (self.job.seed, index))
        write_video(Path(self.job.out), index, plan, self.job.video_format)


def _open_studio(job: _Job) -> Callable[[int], None]:
    import cv2

    cv2.setNumThreads(1)
    return _Studio(job, read_coco(job.coco, job.images_root)).make


def _write_instances(path: Path, out: Path, videos: int, categories: list[dict[str, Any]], *, agnostic: bool) -> None:
    """Join the records in the order of the videos; annotation ids count from 1. One record in memory at a time."""
    info = {"description": "synthetic copy-paste videos"}
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        entries = [_record(out, index)["video"] for index in range(videos)]
        head = {"info": info, "licenses": [], "videos": entries, "categories": categories}
        handle.write(json.dumps(head)[:-1] + ', "annotations": [')
        next_id = 1
        for index in range(videos):
            for annotation in _record(out, index)["annotations"]:
                if agnostic:
                    annotation["category_id"] = _AGNOSTIC["id"]
                handle.write(("\n" if next_id == 1 else ",\n") + json.dumps({"id": next_id, **annotation}))
                next_id += 1
        handle.write("\n]}\n")


class _RecordFile(BaseModel):
    """``records/NNNNN.json``, as far as joining them needs it; who reads the dataset checks the rest."""

    video: dict[str, Any]
    annotations: list[dict[str, Any]]


def _record(out: Path, index: int) -> dict[str, Any]:
    path = record_path(out, index)
    advice = "delete it and resume, and its video is made again"
    record = read_json(path, _RecordFile, advice)
    if record.video.get("id") != index + 1:
        raise DatasetError(f"{path}: is the record of another video; {advice}")
    return dict(record)
