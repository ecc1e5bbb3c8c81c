"""The mined videos as a dataset: COCO and YouTube-VIS files, per-mask evidence, exports for correction.

The frames that enter are every ``keep_every``-th. The COCO file leaves out those without a mask, as training does; the
YouTube-VIS file keeps them, since a video has no holes.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from fewmask.addresses import is_address, showable
from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage, annotation_of, write_coco
from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisCategory, YtvisDataset, YtvisVideo, annotation_from_masks
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.exports.cvat import cvat_labels
from fewmask.exports.label_studio import label_studio_config
from fewmask.media.atomic import write_text
from fewmask.mining.mined_video import CATEGORY, MinedMask, MinedVideo

Keep = Callable[[str, int], bool]
"""Says of (video name, track) whether it stays."""


def everything(_name: str, _track: int) -> bool:
    """Keep every track."""
    return True


def write_annotations(
    folder: Path, videos: Iterable[MinedVideo], keep_every: int, *, keep: Keep = everything, suffix: str = ""
) -> None:
    """Write ``instances<suffix>.json`` (COCO) and ``ytvis<suffix>.json`` for the pictures in ``folder``/images."""
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    ytvis_videos: list[YtvisVideo] = []
    ytvis_tracks: list[YtvisAnnotation] = []
    for video_id, video in enumerate(videos, start=1):
        kept = dataset_frames(video, keep_every, keep)
        height, width = video.size
        names = tuple(file_name(video.name, index) for index in kept)
        ytvis_videos.append(YtvisVideo(video_id, width, height, len(kept), names))
        tracks: dict[int, dict[int, MinedMask]] = {}
        for place, (index, masks) in enumerate(kept.items()):
            if masks:
                extra = {"video": video.name, "video_id": video_id, "frame_index": index}
                images.append(CocoImage(len(images) + 1, names[place], height, width, extra))
            for mask in masks:
                evidence = {"track_id": mask.track, "score": round(mask.confidence, 6), "evidence": mask.evidence()}
                annotations.append(
                    annotation_of(
                        mask.mask,
                        annotation_id=len(annotations) + 1,
                        image_id=len(images),
                        category_id=1,
                        extra=evidence,
                    )
                )
                tracks.setdefault(mask.track, {})[place] = mask
        for _, by_place in sorted(tracks.items()):
            segmentations = [by_place[p].mask if p in by_place else None for p in range(len(kept))]
            ytvis_tracks.append(
                annotation_from_masks(
                    id=len(ytvis_tracks) + 1, video_id=video_id, category_id=1, segmentations=segmentations
                )
            )
    info = {"description": "masks mined from unlabelled video; machine-made, not checked by a person"}
    write_coco(
        CocoDataset(tuple(images), tuple(annotations), CATEGORY, folder / "images", info),
        folder / f"instances{suffix}.json",
    )
    categories = tuple(YtvisCategory(key, name) for key, name in CATEGORY.items())
    write_ytvis(
        folder / f"ytvis{suffix}.json",
        YtvisDataset(tuple(ytvis_videos), categories, tuple(ytvis_tracks), info),
    )


def write_exports(folder: Path, video: MinedVideo, keep_every: int) -> None:
    """Files to correct outlines in other tools, with the labels that they need.

    ``cvat/<name>.xml`` has every track over every frame, ``label_studio/<name>.json`` the exact masks of the dataset's
    frames on their pictures.
    """
    result = video.as_result()
    write_text(folder / "cvat" / f"{video.name}.xml", result.to_cvat())
    write_text(folder / "cvat" / "labels.json", json.dumps(cvat_labels(result)))
    kept = tuple(dataset_frames(video, keep_every))
    pictures = replace(
        result,
        tracks=tuple(
            replace(track, masks=tuple(mask if t in kept else None for t, mask in enumerate(track.masks)))
            for track in result.tracks
        ),
        annotated_frames=kept,
        file_names=tuple(file_name(video.name, t) for t in range(result.length)),
    )
    source = video.source if is_address(video.source) else Path(video.source).name
    tasks = pictures.to_label_studio(
        showable(source), frames_url=f"/data/local-files/?d={quote(folder.name)}/images/{quote(video.name)}"
    )
    write_text(folder / "label_studio" / f"{video.name}.json", json.dumps(tasks, allow_nan=False))
    write_text(folder / "label_studio" / "config.xml", label_studio_config(result))


def dataset_frames(video: MinedVideo, keep_every: int, keep: Keep = everything) -> dict[int, list[MinedMask]]:
    """Frame index in the source -> masks, for the frames that enter the dataset and the tracks that stay."""
    return {
        t * video.frame_step: [mask for mask in video.frames[t] if keep(video.name, mask.track)]
        for t in range(0, len(video.frames), keep_every)
    }


def file_name(video: str, index: int) -> str:
    """Where the picture of a frame lies, below ``images``."""
    return f"{video}/{index:06d}.jpg"


def in_order(results: Iterable[Path]) -> Iterator[MinedVideo]:
    """Read finished videos one at a time."""
    for path in results:
        yield MinedVideo.read(path)
