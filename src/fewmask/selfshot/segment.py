"""From a query and its supports to frame results: encode the supports once, stream the query."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from fewmask.errors import CheckpointError, ConfigError, VideoError
from fewmask.exports.video_result import VideoResult
from fewmask.media.frame_source import Frame, FrameSource
from fewmask.media.frames import Source, opened
from fewmask.media.given_path import given_path
from fewmask.media.results import FrameResult
from fewmask.models.device import resolve_device
from fewmask.selfshot.pretrained import load_transformer
from fewmask.selfshot.stream import CATEGORY, SelfShotStream, StreamSettings
from fewmask.selfshot.supports import SupportClip, read_support
from fewmask.selfshot.transformer import CommonInstanceTransformer, EncodedSupports

BUNDLED = Path(__file__).parent / "weights"
CATEGORIES: Mapping[int, str] = {CATEGORY: "common"}


class SelfShot:
    """The transformer with the supports of one query.

    Example:
        >>> pool = Pool.open("pool")
        >>> found = retrieve("dog.mp4", pool, embedder_of(pool), 5)
        >>> model = SelfShot.from_pretrained("small")
        >>> model.fit(choose_supports(found, [], 5))
        >>> video = model.segment("dog.mp4")
    """

    def __init__(self, network: CommonInstanceTransformer) -> None:
        self._network = network.eval()
        self._supports: EncodedSupports | None = None

    @classmethod
    def from_pretrained(cls, weights: str | Path = "small", *, device: str = "auto") -> "SelfShot":
        """A trained network.

        Args:
            weights: a folder that `fewmask train selfshot` wrote, or "small", which comes with the package.
            device: "auto" takes a CUDA device if there is one.

        Raises:
            CheckpointError: missing, damaged, or weights that do not fit.
            ConfigError: there is no such device.
        """
        folder = given_path(weights, "the name or folder of the weights", CheckpointError)
        if not folder.is_dir() and (BUNDLED / str(weights)).is_dir():
            folder = BUNDLED / str(weights)
        return cls(load_transformer(folder, device=resolve_device(device)))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self._network.parameters()).device

    @property
    def window(self) -> int:
        """T, the frames of a window."""
        return self._network.config.frames

    def fit(self, supports: Sequence[SupportClip]) -> None:
        """Encode the supports; they serve every video streamed afterwards.

        Raises:
            VideoError: a support's video is gone or damaged.
            ConfigError: there is none.
        """
        config = self._network.config
        self.fit_clips([read_support(support.place, config.support_frames, config.size) for support in supports])

    @torch.inference_mode()
    def fit_clips(self, clips: Sequence[torch.Tensor]) -> None:
        """The same with pictures in memory, such as `temporal_segments` of the query.

        Args:
            clips: uint8 [T_i, H, W, 3] of the network's size each.

        Raises:
            ConfigError: there is none.
        """
        self._supports = self._network.encode_supports([clip.to(self.device) for clip in clips])

    def open_stream(self, settings: StreamSettings | None = None) -> SelfShotStream:
        """A stream for one video.

        Raises:
            ConfigError: ``fit`` was not called.
            ConfigError: the settings do not suit the network.
        """
        if self._supports is None:
            raise ConfigError("no supports yet: call fit with them first")
        return SelfShotStream(self._network, self._supports, settings)

    def stream(self, source: Source | FrameSource, settings: StreamSettings | None = None) -> Iterator[FrameResult]:
        """Results of every frame, in order, a window late.

        Raises:
            ConfigError: ``fit`` was not called.
            VideoError: a frame cannot be read; the results of all frames before it have come by then.
        """
        with opened(source) as frames:
            for group in windows(self.open_stream(settings), frames):
                yield from group

    def segment(self, source: Source | FrameSource, settings: StreamSettings | None = None) -> VideoResult:
        """The tracks of a whole video.

        Raises:
            ConfigError: ``fit`` was not called.
            VideoError: the video cannot be read.
        """
        with opened(source) as frames:
            return VideoResult.from_frames(
                self.stream(frames, settings), name=frames.name, size=frames.size, categories=CATEGORIES,
                fps=frames.fps, file_names=frames.file_names,
            )  # fmt: skip


def windows(stream: SelfShotStream, frames: Iterable[Frame]) -> Iterator[list[FrameResult]]:
    """The results of one window after another; where the source breaks, those of the frames before come first."""
    broken: VideoError | None = None
    try:
        for frame in frames:
            if results := stream.step(frame):
                yield results
    except VideoError as error:
        broken = error
    if results := stream.finish():
        yield results
    if broken is not None:
        raise broken
