"""`fewmask label`: a teacher's labels for pictures (COCO) or videos (YouTube-VIS), in doubt marked as unknown.

What a picture or frame shows goes to the spool as soon as it is known, so that a run that stops goes on where it was;
when all are done, one pass writes the annotations. Unknown regions are crowds (``iscrowd`` 1), which is how both
formats say "do not judge here"; `fewmask train` reads them so.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fewmask.datasets.class_names import COCO
from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage, annotation_of, write_coco
from fewmask.datasets.ytvis_types import (
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
)
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.errors import ConfigError, DatasetError
from fewmask.media.atomic import whole_file
from fewmask.media.frames import open_frames
from fewmask.media.run_directory import RunDirectory
from fewmask.models.onnx_detector import Layout, OnnxDetector
from fewmask.models.sam_masks import load_box_prompted
from fewmask.pipelines.taught_tracks import taught_doubts, taught_tracks
from fewmask.pipelines.teacher import Certainty, TaughtObject, Teacher

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True)
class LabelRequest:
    """What the user asked for.

    Attributes:
        sources: one folder of pictures; or videos.
        out: folder of the labels.
        detector: an ONNX file, see `fewmask.models.onnx_detector`.
        segmenter: MobileSAM's file, a folder, or a hub name.
        layout: of the detector's output; None = by its shape.
        names: class names, one a line; None = those of COCO for 80 classes.
        videos: folders of pictures are videos.
        every: of a video every so many-th frame is labelled.
        certainty: from when an object is sure, and what is in doubt.
        side: longer side of MobileSAM's input.
        device: of the segmenter.
        resume: go on with the run in ``out``.
        command: as typed.
    """

    sources: Sequence[Path]
    out: Path
    detector: Path
    segmenter: str
    layout: Layout | None = None
    names: Path | None = None
    videos: bool = False
    every: int = 10
    certainty: Certainty = field(default_factory=Certainty)
    side: int = 512
    device: str = "cpu"
    resume: bool = False
    command: Sequence[str] = ()


@dataclass(frozen=True)
class LabelSummary:
    """Pictures or frames, sure objects and doubtful regions in ``annotations``; unreadable pictures are ``skipped``."""

    pictures: int
    objects: int
    doubts: int
    annotations: Path
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Picture:
    """One picture to label: where it is, and how the annotations call it; ``frame`` of video number ``video``."""

    source: Path
    name: str
    video: int | None = None
    frame: int = 0


def run_label(
    request: LabelRequest, progress: Callable[[int, int | None], None] = lambda _done, _total: None
) -> LabelSummary:
    """Label the sources of a request.

    Args:
        progress: called with the pictures done and their number, where known.

    Raises:
        FewmaskError: sources, models or a folder that cannot be used.
    """
    as_videos = _are_videos(request)
    detector = OnnxDetector(request.detector, layout=request.layout)
    names = _names(request, detector.classes)
    segmenter = load_box_prompted(request.segmenter, side=request.side, device=request.device)
    teacher = Teacher(detector, segmenter, least_score=min(0.1, request.certainty.doubt, request.certainty.score))
    local = Path(request.segmenter)
    run = RunDirectory.create(
        request.out,
        command=list(request.command),
        inputs={
            "detector": request.detector, "segmenter": local if local.exists() else request.segmenter,
            "names": request.names, "sources": [str(source) for source in request.sources],
        },
        settings={
            "videos": as_videos, "every": request.every, "side": request.side, "layout": request.layout,
            "certainty": [request.certainty.score, request.certainty.quality, request.certainty.doubt],
        },
        resume=request.resume,
    )  # fmt: skip
    with run:
        known = {record["name"] for record, _ in _records(run)}
        following = 0 if run.spool.last_index is None else run.spool.last_index + 1
        pictures = _frames(request) if as_videos else _pictures(request.sources[0])
        skipped = []
        for number, (picture, rgb) in enumerate(pictures, start=1):
            image = _read(picture.source) if rgb is None and picture.name not in known else rgb
            if picture.name not in known and image is None:
                skipped.append(picture.name)
            elif picture.name not in known:
                objects = teacher.objects(image)
                if as_videos:
                    _write_frame(request.out / "JPEGImages" / picture.name, image)
                run.spool.append(following, _record(picture, image.shape[:2], objects))
                following += 1
            progress(number, None)
        summary = (_write_videos if as_videos else _write_pictures)(request, run, names)
        run.update({"pictures": summary.pictures, "objects": summary.objects, "doubts": summary.doubts})
        run.finish()
    return replace(summary, skipped=tuple(skipped))


def _are_videos(request: LabelRequest) -> bool:
    """Whether the sources are videos; pictures are one folder.

    Raises:
        ConfigError: a source that is not there, or a mixture.
    """
    if request.every < 1:
        raise ConfigError(f"every {request.every} must be 1 or more")
    for source in request.sources:
        if not source.exists():
            raise ConfigError(f"{source}: no such file or folder; give a folder of pictures, or videos")
    if request.videos or all(source.is_file() and source.suffix.lower() not in PICTURES for source in request.sources):
        return True
    if len(request.sources) == 1 and request.sources[0].is_dir():
        return False
    raise ConfigError(
        "give one folder of pictures, or video files; with --frames folders of pictures are videos as well"
    )


def _names(request: LabelRequest, classes: int) -> tuple[dict[int, str], list[int]]:
    """Category names by id, and the id of every class of the detector."""
    if request.names is not None:
        try:
            lines = request.names.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{request.names}: cannot be read ({error})") from error
        named = dict(enumerate((line.strip() for line in lines if line.strip()), start=1))
    else:
        named = dict(COCO)
    if len(named) != classes:
        raise ConfigError(f"the detector knows {classes} classes, {len(named)} names are given; use --names")
    return named, sorted(named)


def _pictures(folder: Path) -> Iterator[tuple[_Picture, None]]:
    """The pictures of a folder and its folders, in order of their names.

    Raises:
        DatasetError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise DatasetError(f"{folder}: no picture in it; give a folder of JPEG or PNG files")
    for path in found:
        yield _Picture(path, path.relative_to(folder).as_posix()), None


def _frames(request: LabelRequest) -> Iterator[tuple[_Picture, Any]]:
    """Every so many-th frame of the videos; names of folders are made different where stems are alike."""
    taken: Counter[str] = Counter()
    for number, source in enumerate(request.sources, start=1):
        stem = source.stem if source.is_file() else source.name
        taken[stem] += 1
        folder = stem if taken[stem] == 1 else f"{stem}_{taken[stem]}"
        with open_frames(source) as frames:
            for frame in frames:
                if frame.index % request.every == 0:
                    yield _Picture(source, f"{folder}/{frame.index:05d}.jpg", number, frame.index), frame.rgb


def _read(path: Path) -> Any:
    """The picture in RGB; None if it cannot be read."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None


def _write_frame(path: Path, rgb: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _record(picture: _Picture, size: Sequence[int], objects: Sequence[TaughtObject]) -> dict[str, Any]:
    return {
        "name": picture.name, "video": picture.video, "frame": picture.frame, "size": [int(size[0]), int(size[1])],
        "objects": [taught.to_json() for taught in objects],
    }  # fmt: skip


def _records(run: RunDirectory) -> Iterator[tuple[dict[str, Any], list[TaughtObject]]]:
    for _, record in run.spool.records():
        if isinstance(record, dict):
            yield record, [TaughtObject.from_json(value) for value in record["objects"]]


def _write_pictures(request: LabelRequest, run: RunDirectory, names: tuple[dict[int, str], list[int]]) -> LabelSummary:
    images, annotations = [], list[CocoAnnotation]()
    sure = 0
    for number, (record, objects) in enumerate(_records(run), start=1):
        images.append(CocoImage(number, record["name"], *record["size"]))
        for taught in objects:
            doubtful = taught.is_doubtful(request.certainty)
            if not doubtful and not taught.is_sure(request.certainty):
                continue
            sure += not doubtful
            annotation = annotation_of(
                taught.mask, annotation_id=len(annotations) + 1, image_id=number,
                category_id=names[1][taught.label], extra={"score": taught.score, "mask_quality": taught.quality},
            )  # fmt: skip
            annotations.append(CocoAnnotation(**{**_fields(annotation), "iscrowd": doubtful}))
    path = run.path / "labels.json"
    write_coco(CocoDataset(tuple(images), tuple(annotations), names[0], request.sources[0], info=_info(request)), path)
    return LabelSummary(len(images), sure, len(annotations) - sure, path)


def _fields(annotation: CocoAnnotation) -> dict[str, Any]:
    return {name: getattr(annotation, name) for name in annotation.__dataclass_fields__}


def _write_videos(request: LabelRequest, run: RunDirectory, names: tuple[dict[int, str], list[int]]) -> LabelSummary:
    by_video: dict[int, list[tuple[dict[str, Any], list[TaughtObject]]]] = {}
    for record, objects in _records(run):
        by_video.setdefault(int(record["video"]), []).append((record, objects))
    videos, annotations = [], list[YtvisAnnotation]()
    sure = doubts = 0
    for number, frames in by_video.items():
        height, width = frames[0][0]["size"]
        videos.append(YtvisVideo(number, width, height, len(frames), tuple(record["name"] for record, _ in frames)))
        for label, masks in taught_tracks(frames, request.certainty, len(names[1])):
            sure += sum(mask is not None for mask in masks)
            annotations.append(
                annotation_from_masks(
                    id=len(annotations) + 1, video_id=number, category_id=names[1][label], segmentations=masks
                )
            )
        unknown, labels = taught_doubts(frames, request.certainty)
        doubts += sum(mask is not None for mask in unknown)
        if labels:
            annotations.append(
                annotation_from_masks(
                    id=len(annotations) + 1, video_id=number, category_id=names[1][labels.most_common(1)[0][0]],
                    segmentations=unknown, iscrowd=True,
                )
            )  # fmt: skip
    path = run.path / "instances.json"
    categories = tuple(YtvisCategory(key, name) for key, name in names[0].items())
    write_ytvis(path, YtvisDataset(tuple(videos), categories, tuple(annotations), info=_info(request)))
    return LabelSummary(sum(video.length for video in videos), sure, doubts, path)


def _info(request: LabelRequest) -> dict[str, Any]:
    return {
        "description": "labels of a teacher, not of people; doubtful regions are crowds",
        "teacher": {"detector": request.detector.name, "segmenter": Path(request.segmenter).name},
    }
