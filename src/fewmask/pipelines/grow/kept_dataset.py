"""What was kept, as a dataset: COCO and YouTube-VIS files over pictures, with the evidence beside every mask.

A picture enters for every ``keep_every``-th frame looked at that shows something. Three things are in it:

- tracks that were kept, under the name of their kind;
- tracks of whose kind nobody is sure: marked unknown (COCO's crowd), so that training learns nothing from them;
- all other objects of which the segmenter is sure, as "object": what it knew before stays known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage, annotation_of, write_coco
from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisCategory, YtvisDataset, YtvisVideo, annotation_from_masks
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.media.atomic import write_bytes
from fewmask.media.frame_source import RgbImage
from fewmask.pipelines.grow.agreement import Verdict
from fewmask.pipelines.grow.find import FoundTrack, FoundVideo
from fewmask.pipelines.grow.track_views import pictures_of

OBJECT = 1
"""Category id of what is an object of no kind that was asked for; kinds follow from 2."""
PARTS = ("instances.json", "ytvis.json", "images")
"""What `write_kept` writes: the dataset, whatever else lies in its folder."""
SURE_OBJECT = 0.5
"""Mean score from which another object of the segmenter is taught on."""
JPEG_QUALITY = 92


@dataclass(frozen=True)
class JudgedVideo:
    """A video's tracks with their verdicts, by track id; a track without one was not judged."""

    found: FoundVideo
    verdicts: Mapping[int, Verdict]

    def tracks(self, decision: str) -> list[FoundTrack]:
        """Tracks with that decision, by id."""
        return [
            track
            for track in self.found.tracks
            if track.track in self.verdicts and self.verdicts[track.track].decision == decision
        ]


def category_names(kinds: Sequence[str]) -> dict[int, str]:
    """Category id -> name."""
    return {OBJECT: "object"} | dict(enumerate(kinds, OBJECT + 1))


def write_kept(
    folder: Path, videos: Iterable[JudgedVideo], kinds: Sequence[str], keep_every: int, *, held_out: frozenset[str]
) -> dict[str, int]:
    """Write ``instances.json``, ``ytvis.json`` and ``images/``; returns counts of what is in them.

    Args:
        folder: of the dataset.
        videos: judged, in a fixed order.
        kinds: names, in the order of the verdicts.
        keep_every: of the frames looked at, one in so many enters.
        held_out: names of videos that are not to be trained on; they are marked so, and are in both files.
    """
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    ytvis_videos: list[YtvisVideo] = []
    ytvis_tracks: list[YtvisAnnotation] = []
    for video_id, video in enumerate(videos, start=1):
        found = video.found
        frames = _dataset_frames(video, keep_every)
        if not frames:
            continue
        names = {index: f"{found.video}/{index:06d}.jpg" for index in frames}
        shown = _written(folder / "images", found.source, names)
        frames = [index for index in frames if index in shown]
        place = {index: position for position, index in enumerate(frames)}
        height, width = found.size
        ytvis_videos.append(YtvisVideo(video_id, width, height, len(frames), tuple(names[index] for index in frames)))
        image_of: dict[int, int] = {}
        for index in frames:
            extra = {"video": found.video, "video_id": video_id, "frame_index": index,
                     "held_out": found.video in held_out}  # fmt: skip
            images.append(CocoImage(len(images) + 1, names[index], height, width, extra))
            image_of[index] = len(images)
        for track, category, crowd, evidence in _rows(video):
            inside = {index: mask for index, mask in track.masks.items() if index in place}
            for index, mask in inside.items():
                made = annotation_of(
                    mask, annotation_id=len(annotations) + 1, image_id=image_of[index], category_id=category,
                    extra={"track_id": track.track, **evidence},
                )  # fmt: skip
                annotations.append(replace(made, iscrowd=True) if crowd else made)
            if inside and not crowd:
                segmentations = [inside.get(index) for index in frames]
                ytvis_tracks.append(
                    annotation_from_masks(
                        id=len(ytvis_tracks) + 1, video_id=video_id, category_id=category, segmentations=segmentations
                    )
                )
    names_of = category_names(kinds)
    info = {"description": "masks found in unlabelled video from few examples or none; not checked by a person"}
    write_coco(CocoDataset(tuple(images), tuple(annotations), names_of, folder / "images", info),
               folder / "instances.json")  # fmt: skip
    write_ytvis(
        folder / "ytvis.json",
        YtvisDataset(
            tuple(ytvis_videos), tuple(YtvisCategory(key, name) for key, name in names_of.items()),
            tuple(ytvis_tracks), info,
        ),
    )  # fmt: skip
    return {
        "pictures": len(images),
        "masks": sum(a.category_id != OBJECT and not a.iscrowd for a in annotations),
        "unknown": sum(a.iscrowd for a in annotations),
        "objects": sum(a.category_id == OBJECT and not a.iscrowd for a in annotations),
        "tracks": sum(t.category_id != OBJECT for t in ytvis_tracks),
    }


def _rows(video: JudgedVideo) -> list[tuple[FoundTrack, int, bool, dict[str, Any]]]:
    """Track, category, whether it is unknown, and the evidence for files."""
    rows: list[tuple[FoundTrack, int, bool, dict[str, Any]]] = []
    for track in video.found.tracks:
        verdict = video.verdicts.get(track.track)
        if verdict is not None and verdict.decision in ("kept", "unsure"):
            evidence = {"score": round(verdict.evidence.confidence, 4), "evidence": verdict.evidence.as_dict()}
            rows.append((track, OBJECT + 1 + verdict.kind, verdict.decision == "unsure", evidence))
        elif track.score >= SURE_OBJECT:
            rows.append((track, OBJECT, False, {"score": round(track.score, 4)}))
    return rows


def _dataset_frames(video: JudgedVideo, keep_every: int) -> list[int]:
    shown = {index for track, _, crowd, _ in _rows(video) if not crowd for index in track.masks}
    spacing = keep_every * video.found.step
    return sorted(index for index in shown if index % spacing == 0)


def _written(folder: Path, source: str, names: Mapping[int, str]) -> set[int]:
    """Write the pictures; returns the frames that could be read."""
    done: set[int] = set()
    for index, rgb in pictures_of(source, names):
        write_bytes(folder / names[index], jpeg(rgb))
        done.add(index)
    return done


def jpeg(rgb: RgbImage) -> bytes:
    """A picture uint8 [H, W, 3] as JPEG."""
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    data: bytes = encoded[1].tobytes()
    return data
