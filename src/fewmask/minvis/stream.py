"""MinVIS on a frame source: every object with a persistent id, online, in memory that does not grow with the video."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from fewmask.errors import VideoError
from fewmask.exports.video_result import VideoResult
from fewmask.media.final_ids import AppearanceIds, first_frames
from fewmask.media.frames import FrameSource, Source, opened
from fewmask.media.results import FrameResult
from fewmask.minvis.segmenter import QuerySegmenter
from fewmask.minvis.stream_settings import StreamSettings, resolve
from fewmask.minvis.track_stream import TrackStream, best_of, categories_of


class MinVIS:
    """Online video instance segmentation with an image segmenter.

    Example:
        >>> model = MinVIS.from_pretrained()
        >>> for frame in model.stream("video.mp4"):
        ...     print(frame.index, frame.track_ids)

    Args:
        segmenter: per-frame queries; see `fewmask.minvis.segmenter.QuerySegmenter`.
    """

    def __init__(self, segmenter: QuerySegmenter) -> None:
        self.segmenter = segmenter

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "small",
        *,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32",
        runtime: str = "torch",
    ) -> "MinVIS":
        """``small`` (ships with fewmask), a folder written by us or by transformers, or a name on the hub.

        `fewmask convert minvis` makes such a folder out of an official checkpoint.

        Args:
            name_or_folder: the weights.
            device: auto, cpu, cuda, cuda:N or mps.
            precision: of matrix products; auto takes bfloat16 where the hardware computes in it, which is faster and
                moves single mask pixels.
            runtime: torch, or onnxruntime or openvino, which compute one-stage networks and Mask2Former on CPUs.

        Raises:
            CheckpointError: nothing there, damaged, or weights of another architecture.
            ConfigError: an impossible device, precision or runtime.
        """
        from fewmask.minvis.pretrained import load
        from fewmask.models.device import resolve_device, resolve_precision

        where = resolve_device(device)
        found = load(name_or_folder, device=where, autocast_dtype=resolve_precision(precision, where), runtime=runtime)
        return cls(found)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the segmenter into ``folder``, as `from_pretrained` reads it.

        Mask2Former, EoMT and VidEoMT are written as transformers reads them (config.json, model.safetensors and,
        for Mask2Former, preprocessor_config.json); small networks as architecture.json and model.safetensors,
        because transformers has no name for their backbones.
        """
        self.segmenter.save(folder)

    @property
    def categories(self) -> dict[int, str]:
        """Class names by category id; ids count from 1 as in YouTube-VIS."""
        return categories_of(self.segmenter)

    def stream(self, source: Source | FrameSource, settings: StreamSettings | None = None) -> Iterator[FrameResult]:
        """Results frame by frame, as soon as known; ids never change.

        Each lists the ``top_k`` best tracks so far that have appeared by now, at their best class and mean score so
        far, absent ones with mask None. Ids count from 1 in the order in which tracks first have a mask among the best.
        A run or `segment`, which know the end, number only what is best then, so that ids of theirs can be lower.

        Raises:
            VideoError: the source cannot be read (on); everything before has been yielded.
        """
        wanted = settings or StreamSettings()
        with opened(source) as frames:
            stream, ids = self.open_stream(resolve(wanted, frames, self.segmenter.device)), AppearanceIds()
            for group in stream.run(frames):
                for result in group:
                    yield ids.number(best_of(result, wanted.top_k))

    def open_stream(self, settings: StreamSettings) -> TrackStream:
        """A stream for one video, for who feeds its frames in himself.

        Args:
            settings: resolved (`fewmask.minvis.stream_settings.resolve`).
        """
        return TrackStream(self.segmenter, settings)

    def segment(self, source: Source | FrameSource, settings: StreamSettings | None = None) -> VideoResult:
        """The ``top_k`` best tracks of a video that ends, best first; the final scores are those of the paper.

        Ids count from 1 in order of appearance; tracks without any mask come last.

        Raises:
            VideoError: the source cannot be read to its end, or is live.
        """
        with opened(source) as frames:
            if frames.is_live:
                raise VideoError(f"{frames.name}: a live source has no end; use stream()")
            stream = self.open_stream(resolve(settings or StreamSettings(), frames, self.segmenter.device))
            results = [result for group in stream.run(frames) for result in group]
            tracks = stream.final_tracks()
            if tracks is None:
                raise VideoError(f"{frames.name}: no frame came; check that it plays")
            return VideoResult.from_final(
                tracks.numbered(first_frames(results)), results, name=frames.name, size=frames.size,
                categories=self.categories, fps=frames.fps, file_names=frames.file_names,
                source=source if isinstance(source, str | Path | int) else None,
            )  # fmt: skip
