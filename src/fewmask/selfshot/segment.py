"""From a query and its supports to frame results: encode the supports once, stream the query."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from fewmask.media.frame_source import FrameSource
from fewmask.media.results import FrameResult
from fewmask.selfshot.pretrained import load_transformer
from fewmask.selfshot.stream import SelfShotStream, StreamSettings
from fewmask.selfshot.supports import SupportClip, read_support
from fewmask.selfshot.transformer import CommonInstanceTransformer


class SelfShot:
    """The transformer with the supports of one query.

    Example:
        >>> model = SelfShot.from_pretrained("weights")
        >>> model.fit(choose_supports(retrieve("dog.mp4", pool, embedder, 5), [], 5))
        >>> for result in model.stream(open_frames("dog.mp4")): ...
    """

    def __init__(self, network: CommonInstanceTransformer) -> None:
        self._network = network.eval()
        self._supports: torch.Tensor | None = None

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> "SelfShot":
        """The network that training wrote to ``folder``.

        Raises:
            CheckpointError: missing, damaged, or weights that do not fit.
        """
        return cls(load_transformer(folder, device=device))

    @torch.inference_mode()
    def fit(self, supports: Sequence[SupportClip]) -> None:
        """Encode the supports; they serve every video streamed afterwards.

        Raises:
            VideoError: a support's video is gone or damaged.
            ConfigError: there is none.
        """
        config = self._network.config
        device = next(self._network.parameters()).device
        clips = [read_support(support.place, config.support_frames, config.size).to(device) for support in supports]
        self._supports = self._network.encode_supports(clips)

    def stream(self, frames: FrameSource, settings: StreamSettings | None = None) -> Iterator[FrameResult]:
        """Results of every frame, in order, a window late.

        Raises:
            ValueError: ``fit`` was not called.
            VideoError: a frame cannot be read; the results of the windows before it have come by then.
        """
        if self._supports is None:
            raise ValueError("call fit with the supports first")
        stream = SelfShotStream(self._network, self._supports, settings)
        for frame in frames:
            yield from stream.step(frame)
        yield from stream.finish()
