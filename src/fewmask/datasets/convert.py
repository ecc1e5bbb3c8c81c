"""One dataset format into another, as far as the information goes.

Everything passes through one of two forms: videos of tracks (`YtvisDataset`) or pictures (`CocoDataset`). What the
target cannot hold is either refused, or left out on request or where it is of no weight, and then named in the
notes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewmask.datasets.coco import CocoDataset, read_coco, write_coco
from fewmask.datasets.cvat import read_cvat
from fewmask.datasets.davis import Task, read_davis, write_davis
from fewmask.datasets.formats import Format, locate
from fewmask.datasets.label_studio import read_label_studio
from fewmask.datasets.label_tree import FrameCopies
from fewmask.datasets.labelme import read_labelme
from fewmask.datasets.mask_folders import read_mask_folders, read_mask_pictures, write_mask_folders
from fewmask.datasets.video_coco import frames_as_pictures, has_tracks, pictures_as_frames, pictures_as_videos
from fewmask.datasets.video_list import video_folders
from fewmask.datasets.vspw import read_vspw, write_vspw
from fewmask.datasets.whole_folder import refuse_overwrite
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.errors import DatasetError
from fewmask.media.atomic import remove_unfinished_of
from fewmask.media.writer_lock import WriterLock

Overlap = Literal["refuse", "smaller"]
_NATURAL_JSON: dict[Format, Format] = {"ytvis": "coco", "labelme": "coco"}
_READ_ONLY: dict[Format, str] = {
    "labelme": "choose coco",
    "cvat": "segment writes them with --export cvat",
    "label-studio": "segment writes them with --export label-studio",
}


_CORRECTED: dict[Format, Callable[[Path, Path | None], tuple[CocoDataset, list[str]]]] = {
    "cvat": read_cvat,
    "label-studio": read_label_studio,
}


@dataclass(frozen=True)
class ConvertOptions:
    """How to read and write; every field is for the formats that need it.

    subset: name of a list of videos in a DAVIS or VSPW tree; read where the source is one, written where the target is.
    task: which annotations of a DAVIS tree.
    resolution: folder of the resolution in a DAVIS tree.
    category: name of the class for sources without classes.
    frames_root: folder that the file names in a JSON source are relative to.
    frames: copy frames into a written tree, hard-link them, or leave them out.
    overlap: where masks overlap and the target gives each pixel to one object: refuse, or the smaller one wins.
    single_frames: every picture is a video of one frame; for pictures without track ids.
    drop_classes: allow a target that has no classes although the source has several.
    """

    subset: str | None = None
    task: Task | None = None
    resolution: str | None = None
    category: str = "object"
    frames_root: Path | None = None
    frames: FrameCopies = "copy"
    overlap: Overlap = "refuse"
    single_frames: bool = False
    drop_classes: bool = False


@dataclass(frozen=True)
class Conversion:
    """What `convert_data` did. ``frames_root`` is the folder that file names in a written JSON file are relative to."""

    source_format: Format
    target_format: Format
    target: Path
    frames_root: Path
    videos: int | None
    frames: int
    objects: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Loaded:
    dataset: YtvisDataset | CocoDataset
    frames_root: Path
    notes: tuple[str, ...] = ()


def convert_data(
    source: str | Path,
    target: str | Path,
    *,
    source_format: Format | None = None,
    target_format: Format | None = None,
    options: ConvertOptions = ConvertOptions(),
) -> Conversion:
    """Convert the dataset at ``source`` and write it to ``target``, whole or not at all.

    Args:
        source: file or folder.
        target: file (ytvis, coco) or folder (davis, vspw, folders) to make.
        source_format: by default recognised.
        target_format: by default, for a file: coco from ytvis and labelme, ytvis from everything else; for a folder:
            davis from ytvis.
        options: see `ConvertOptions`.

    Raises:
        DatasetError: the source is malformed, the target exists, or the target cannot hold what the source says.
    """
    source, target = Path(source), Path(target)
    with WriterLock.of_target(target, "fewmask convert-data"):
        refuse_overwrite(target)
        remove_unfinished_of(target)
        return _convert(source, target, source_format, target_format, options)


def _convert(
    source: Path, target: Path, source_format: Format | None, target_format: Format | None, options: ConvertOptions
) -> Conversion:
    source, source_format = locate(source, source_format)
    target_format = target_format or _natural_target(source_format, target)
    if target_format in _READ_ONLY:
        raise DatasetError(f"{target}: {target_format} files are read, not written; {_READ_ONLY[target_format]}")
    loaded = _read(source, source_format, target_format, options)
    notes = [*loaded.notes]
    if target_format == "coco":
        pictures = _as_pictures(loaded, notes)
        _refuse_nothing(len(pictures.images), source)
        write_coco(pictures, target)
        counts: tuple[int | None, int, int] = (None, len(pictures.images), len(pictures.annotations))
    else:
        videos = _as_videos(loaded, options, notes)
        _refuse_nothing(sum(video.length for video in videos.videos), source)
        if target_format in ("davis", "folders"):
            _check_classes(videos, options, notes)
        if target_format in ("davis", "folders", "vspw"):
            _note_what_label_maps_lose(videos, target_format, notes)
        _write(videos, target, target_format, loaded.frames_root, options)
        counts = (len(videos.videos), sum(video.length for video in videos.videos), len(videos.annotations))
    return Conversion(source_format, target_format, target, loaded.frames_root, *counts, tuple(notes))


def _refuse_nothing(frames: int, source: Path) -> None:
    if frames == 0:
        raise DatasetError(f"{source}: holds no picture that was annotated; there is nothing to convert")


def _natural_target(source_format: Format, target: Path) -> Format:
    if target.suffix.lower() == ".json":
        return _NATURAL_JSON.get(source_format, "ytvis")
    if source_format == "ytvis":
        return "davis"
    raise DatasetError(f"{target}: say with --to what folder of it to make: davis, vspw or folders")


def _read(source: Path, source_format: Format, target_format: Format, options: ConvertOptions) -> _Loaded:
    if source_format == "ytvis":
        beside = source.parent / "JPEGImages"
        root = options.frames_root or (beside if beside.is_dir() else source.parent)
        return _Loaded(read_ytvis(source), root)
    if source_format == "davis":
        found = read_davis(
            source,
            subset=options.subset,
            task=options.task,
            resolution=options.resolution,
            category=options.category,
        )
        return _Loaded(*found)
    if source_format == "vspw":
        return _Loaded(*read_vspw(source, subset=options.subset))
    if source_format == "folders":
        flat = target_format == "coco" and (source / "images").is_dir() and not video_folders(source / "images")
        if not flat and not options.single_frames:
            return _Loaded(*read_mask_folders(source, category=options.category))
        pictures = read_mask_pictures(source, category=options.category)
    elif source_format == "labelme":
        pictures = read_labelme(source)
    elif source_format in _CORRECTED:
        pictures, notes = _CORRECTED[source_format](source, options.frames_root)
        return _Loaded(pictures, pictures.images_root, tuple(notes))
    else:
        pictures = read_coco(source, options.frames_root)
    return _Loaded(pictures, pictures.images_root)


def _as_pictures(loaded: _Loaded, notes: list[str]) -> CocoDataset:
    dataset = loaded.dataset
    if isinstance(dataset, CocoDataset):
        return dataset
    pictures = frames_as_pictures(dataset, loaded.frames_root)
    written = {annotation.extra["instance_id"] for annotation in pictures.annotations}
    without = sum(track.id not in written for track in dataset.annotations)
    if without:
        notes.append(f"{without} tracks without any mask were left out: COCO has nothing to say about them")
    unknown = sum(video.length for video in dataset.videos) - len(pictures.images)
    if unknown:
        notes.append(f"{unknown} unannotated frames were left out: COCO would call them empty")
    return pictures


def _as_videos(loaded: _Loaded, options: ConvertOptions, notes: list[str]) -> YtvisDataset:
    dataset = loaded.dataset
    if isinstance(dataset, YtvisDataset):
        return dataset
    if options.single_frames:
        videos = pictures_as_videos(dataset)
    elif has_tracks(dataset):
        videos = pictures_as_frames(dataset)
    else:
        raise DatasetError(
            f"{dataset.path}: the pictures do not say which video they belong to, nor objects which track; "
            "take every picture as a video of one frame with --single-frames"
        )
    used = {"video_id", "frame_id", "frame_index", "frame_ind", "instance_id", "track_id", "occlusion"}
    fields = {key for image in dataset.images for key in image.extra}
    fields |= {key for annotation in dataset.annotations for key in annotation.extra}
    fields -= used
    if fields:
        notes.append(f"fields that YouTube-VIS files do not have were left out: {', '.join(sorted(fields))}")
    return videos


def _write(
    dataset: YtvisDataset, target: Path, target_format: Format, frames_root: Path, options: ConvertOptions
) -> None:
    smaller_on_top = options.overlap == "smaller"
    subset = options.subset or "val"
    if target_format == "ytvis":
        try:
            write_ytvis(target, dataset)
        except ValueError as error:
            raise DatasetError(
                f"{dataset.path or target}: info or licenses hold NaN or infinity, which JSON does not have; remove it"
            ) from error
    elif target_format == "vspw":
        write_vspw(
            dataset,
            target,
            frames_root=frames_root,
            frames=options.frames,
            subset=subset,
            smaller_on_top=smaller_on_top,
        )
    elif target_format == "folders":
        write_mask_folders(
            dataset, target, frames_root=frames_root, frames=options.frames, smaller_on_top=smaller_on_top
        )
    else:
        write_davis(
            dataset,
            target,
            frames_root=frames_root,
            frames=options.frames,
            task=options.task or "semi-supervised",
            subset=subset,
            smaller_on_top=smaller_on_top,
        )


def _check_classes(dataset: YtvisDataset, options: ConvertOptions, notes: list[str]) -> None:
    used = {annotation.category_id for annotation in dataset.annotations}
    names = [category.name for category in dataset.categories if category.id in used]
    if len(names) > 1 and not options.drop_classes:
        raise DatasetError(
            f"{dataset.path or 'dataset'}: {len(names)} classes ({', '.join(names[:3])}, ...) would be lost, the "
            "target has none; allow it with --drop-classes"
        )
    if names and names != ["object"]:
        notes.append(f"the target has no classes: {len(names)} class names were left out")


def _note_what_label_maps_lose(dataset: YtvisDataset, target_format: Format, notes: list[str]) -> None:
    empty = sum(not annotation.mask_areas.any() for annotation in dataset.annotations)
    if empty:
        notes.append(f"{empty} tracks without any mask were left out: a label map has nothing to say about them")
    crowds = sum(annotation.iscrowd for annotation in dataset.annotations)
    if crowds and target_format != "vspw":
        notes.append(f"{crowds} crowd annotations became void (255)")
