"""What a method found in a video, with the doors to files and to other tools."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fewmask.errors import DatasetError
from fewmask.exports.coco import coco_dataset
from fewmask.exports.cvat import cvat_images_xml, cvat_xml
from fewmask.exports.davis import write_davis
from fewmask.exports.label_studio import label_studio_tasks
from fewmask.exports.overlay_video import Overlay
from fewmask.exports.polygons import MIN_IOU
from fewmask.exports.saved_results import read_file, read_run
from fewmask.exports.ytvis import ytvis_results
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import Frame, open_frames
from fewmask.media.given_path import given_path
from fewmask.media.hidden_tracks import TrackClutter
from fewmask.media.overlay import draw
from fewmask.media.video_tracks import VideoTracks

if TYPE_CHECKING:
    import supervision


class VideoResult(VideoTracks):
    """All tracks of one video; fields as in `fewmask.media.video_tracks.VideoTracks`."""

    __slots__ = ()

    @classmethod
    def from_run(cls, folder: str | Path, *, shown_only: bool = False) -> Self:
        """The results of a run of ``fewmask segment``, as written; ids are those of its pictures and exports.

        Args:
            folder: the run directory.
            shown_only: without the tracks that are in ``tracks.json`` alone.

        Raises:
            DatasetError: the folder holds no finished run, or one of its files is damaged.
        """
        return cls(**read_run(given_path(folder, "the folder of the run", DatasetError), shown_only=shown_only))

    @classmethod
    def from_file(
        cls, path: str | Path, *, categories: Mapping[int, str] | None = None, video_id: int | None = None
    ) -> Self:
        """A run's ``tracks.json``, or any YouTube-VIS result file.

        Args:
            path: the file; of a run, names, rate and size come from the ``video.json`` beside it.
            categories: class names of other files; without them a class is called "class 1", ...
            video_id: which video, where the file holds several.

        Raises:
            DatasetError: malformed, of several videos, or without any mask to tell the size.
        """
        return cls(
            **read_file(given_path(path, "the file of results", DatasetError), categories=categories, video_id=video_id)
        )

    def to_ytvis(self, video_id: int = 1) -> list[dict[str, Any]]:
        """YouTube-VIS results; see `fewmask.exports.ytvis`."""
        return ytvis_results(self, video_id)

    def to_coco(self, first_image_id: int = 1) -> dict[str, Any]:
        """A COCO dataset with one image per known frame; see `fewmask.exports.coco`."""
        return coco_dataset(self, first_image_id)

    def to_davis(self, folder: str | Path) -> Path:
        """Palette PNGs in ``folder``, named as the pictures were, else 00000.png, ...; see `fewmask.exports.davis`."""
        return write_davis(self, Path(folder))

    def to_cvat(self, *, exact: bool = False, min_iou: float = MIN_IOU) -> str:
        """CVAT XML; see `fewmask.exports.cvat`.

        Args:
            exact: "CVAT for images 1.1" with every mask to the pixel, else "CVAT for video 1.1" with tracks of simple
                polygons.
            min_iou: of the polygons between key frames with their masks; lower gives fewer key frames.
        """
        return cvat_images_xml(self) if exact else cvat_xml(self, min_iou)

    def to_label_studio(self, video_url: str, *, frames_url: str | None = None) -> list[dict[str, Any]]:
        """Label Studio tasks with predictions; see `fewmask.exports.label_studio` for the labelling configs.

        Args:
            video_url: where Label Studio finds the video.
            frames_url: where it finds a folder with the video's frames (their own names for image sources, else
                00000.jpg, 00001.jpg, ...). With it there is one image task per known frame, with exact masks;
                without it one video task, with the tracks as boxes: Label Studio has no masks in videos.
        """
        return label_studio_tasks(self, video_url, frames_url)

    def to_supervision(self, frame_index: int) -> "supervision.Detections":
        """One frame as supervision's Detections; see `fewmask.media.detections`.

        Raises:
            FewmaskError: supervision is not installed.
            DatasetError: the frame lies outside the video, or is not annotated.
        """
        return self.frame(frame_index).to_supervision(self.categories)

    def plot(self, frame: Frame | int, *, labels: bool = True, scores: bool = False) -> RgbImage:
        """The tracks drawn on one frame, uint8 [H, W, 3].

        Args:
            frame: as a frame source gives it, or its number, to be read from ``source``.
            labels: write "#id name" at each track.
            scores: with its score.

        Raises:
            DatasetError: the video does not have or know this frame, the picture has another size, or there is no
                source.
            VideoError: the source cannot be read.
        """
        if isinstance(frame, int):
            with open_frames(self._place(None), start=frame) as frames:
                found = next((each for each in frames if each.index == frame), None)
            if found is None:
                raise DatasetError(f"{self.name}: the source has no frame {frame}")
            frame = found
        if not isinstance(frame, Frame):
            raise DatasetError(f"{self.name}: a frame of type {type(frame).__name__}; give a Frame or its number")
        return draw(frame.rgb, self.frame(frame.index), self.categories, labels=labels, scores=scores)

    def save_overlay(
        self,
        path: str | Path,
        source: str | Path | int | None = None,
        *,
        all_tracks: bool = False,
        scores: bool = False,
    ) -> Path:
        """The video with its tracks as an MP4 file; returns its path.

        Args:
            path: the file.
            source: the video, where it is not at ``self.source``.
            all_tracks: draw also tracks inside a better one and tiny ones; see `fewmask.media.hidden_tracks`.
            scores: write them at the tracks.

        Raises:
            DatasetError: there is no source, or it has frames of another size.
            VideoError: it cannot be read.
        """
        clutter = TrackClutter()
        ranking = [track.track_id for track in sorted(self.tracks, key=lambda track: -track.score)]
        for found in self.frames() if not all_tracks else ():
            clutter.add(found)
        hidden = clutter.hidden(ranking).ids if not all_tracks else ()
        place = self._place(source)
        with Overlay(
            Path(path), place, self.categories, skip_broken=True, hidden=hidden, scores=scores
        ) as overlay:  # fmt: skip
            for found in self.frames():
                overlay.add(found)
        return Path(path)

    def _place(self, source: str | Path | int | None) -> str | Path | int:
        place = self.source if source is None else source
        if place is None:
            raise DatasetError(f"{self.name}: does not know its video; say where it is with source")
        return place
