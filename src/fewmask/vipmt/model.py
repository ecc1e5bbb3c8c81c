"""VIPMT as users meet it: load weights, show supports, segment a video."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from fewmask.errors import CheckpointError, ConfigError
from fewmask.exports.video_result import VideoResult
from fewmask.media.frame_source import Frame, FrameSource
from fewmask.media.frames import Source, opened
from fewmask.media.given_path import given_path
from fewmask.media.results import FrameResult
from fewmask.models.device import resolve_device
from fewmask.models.weights_file import halved
from fewmask.vipmt.config import VIPMTConfig
from fewmask.vipmt.convert import load_network, save_network
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.stream import ClipStream, FittedSupport, fit_support
from fewmask.vipmt.support import Support, read_support

BUNDLED = Path(__file__).parent / "weights"


class VIPMT:
    """Few-shot video object segmentation: show K masked pictures, get the class in every frame.

    >>> model = VIPMT.from_pretrained("weights/vipmt")
    >>> video = model.fit("supports/dog").segment("walk.mp4")
    >>> video.to_davis("out")
    """

    def __init__(self, network: VIPMTNetwork) -> None:
        self.network = network

    @classmethod
    def from_config(cls, config: VIPMTConfig) -> Self:
        """An untrained model."""
        return cls(VIPMTNetwork(config).eval())

    @classmethod
    def from_pretrained(
        cls, weights: str | Path, *, compat: Literal["paper", "official"] = "paper", device: str = "auto"
    ) -> Self:
        """Load saved weights.

        Args:
            weights: a folder written by `fewmask convert vipmt`, `fewmask train vipmt` or ``save_pretrained``, or the
                name of bundled weights.
            compat: "paper" takes each frame's own prior; "official" repeats the released code, where the prior of a
                frame is the mean over the clip's frames so far.
            device: what ``resolve_device`` takes: "auto", "cpu", "cuda", "cuda:1", ...

        Raises:
            CheckpointError: no such weights, or weights that do not fit.
            ConfigError: an unknown ``compat`` or device.
        """
        if compat not in ("paper", "official"):
            raise ConfigError(f"compat={compat!r} is unknown; use 'paper' or 'official'")
        folder = given_path(weights, "the name or folder of the weights", CheckpointError)
        if not folder.is_dir() and (BUNDLED / str(weights)).is_dir():
            folder = BUNDLED / str(weights)
        if not folder.is_dir():
            names = sorted(entry.name for entry in BUNDLED.iterdir()) if BUNDLED.is_dir() else []
            raise CheckpointError(
                f"{weights}: no such folder"
                + (f" and no bundled weights of that name ({', '.join(names)})" if names else "")
                + "; convert a checkpoint with `fewmask convert vipmt` or train with `fewmask train vipmt`"
            )
        network = load_network(folder, prior="running" if compat == "official" else "per_frame")
        return cls(network.to(resolve_device(device)))

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> Path:
        """Write weights and configuration to ``folder``, for ``from_pretrained``; returns it.

        Args:
            half: round to half precision, all but the batch norms' statistics: half the size.
        """
        folder = Path(folder)
        weights = self.network.state_dict()
        save_network(halved(weights) if half else weights, self.network.config, folder)
        return folder

    def fit(self, support: Support) -> "FittedVIPMT":
        """Encode the supports once; nothing is trained.

        Args:
            support: a folder of pictures with masks, a COCO JSON file, a ``SupportSet``, or (picture, mask) pairs;
                see ``read_support``.

        Raises:
            DatasetError: a picture without mask, an empty mask, a mask of another size, an unreadable file.
        """
        return FittedVIPMT(self.network, fit_support(self.network, read_support(support)))


@dataclass(frozen=True)
class FittedVIPMT:
    """A network and the supports it looks for."""

    network: VIPMTNetwork
    support: FittedSupport

    @property
    def categories(self) -> dict[int, str]:
        """Category id -> class name, from 1, in the supports' order."""
        return dict(enumerate(self.support.classes, start=1))

    def stream(self, source: Source | FrameSource, *, seed: int = 0, instances: bool = False) -> Iterator[FrameResult]:
        """Frame results as the clips complete; never more than one clip of frames in memory.

        Args:
            source: what ``open_frames`` takes, or an open ``FrameSource``.
            seed: of the choice of memory frames.
            instances: take each class mask apart into connected components with ids of their own. Otherwise a class
                is one track, with track id = category id.

        Yields:
            One result per frame; ``scores`` hold the IoU that the network predicts for its own mask, in (0, 1).

        Raises:
            VideoError: the source cannot be read, or a frame in it is broken; all clips before it have come by then.
        """
        clips = ClipStream(self.network, self.support, seed=seed, instances=instances)
        with opened(source) as frames:
            for clip in clips_of(frames, self.network.config.clip_length):
                yield from clips.step(clip)

    def segment(self, source: Source | FrameSource, *, seed: int = 0, instances: bool = False) -> VideoResult:
        """The whole video at once; arguments and errors as ``stream``."""
        with opened(source) as frames:
            return VideoResult.from_frames(
                self.stream(frames, seed=seed, instances=instances),
                name=frames.name,
                size=frames.size,
                categories=self.categories,
                length=frames.length,
                fps=frames.fps,
                file_names=frames.file_names,
            )


def clips_of(frames: Iterable[Frame], length: int) -> Iterator[list[Frame]]:
    """Consecutive clips; when a frame is broken, the frames before it come as a last, shorter clip."""
    clip: list[Frame] = []
    reader = iter(frames)
    while True:
        try:
            frame = next(reader, None)
        except Exception:
            if clip:
                yield clip
            raise
        if frame is not None:
            clip.append(frame)
        if len(clip) == length or (frame is None and clip):
            yield clip
            clip = []
        if frame is None:
            return
