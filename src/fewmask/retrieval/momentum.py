"""The two encoders and the queue of MoCo: Φ learns, Φ̃ follows as a moving average, past keys serve as negatives."""

import copy

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fewmask.retrieval.encoder import ClipNetwork

NO_VIDEO = -1


class MomentumPair(nn.Module):
    """Φ, Φ̃ and the queue; all of it is saved and restored with the state dict.

    Attributes:
        query_encoder: Φ.
        key_encoder: Φ̃, never trained by gradient.
    """

    queue: Tensor
    queue_videos: Tensor
    position: Tensor

    def __init__(self, encoder: ClipNetwork, length: int) -> None:
        super().__init__()
        self.query_encoder = encoder
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(length, encoder.config.dimension))
        self.register_buffer("queue_videos", torch.full((length,), NO_VIDEO))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    def train(self, mode: bool = True) -> "MomentumPair":
        """As usual, but normalisation statistics stay as they are: batches of clips of few videos would spoil them."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        self.key_encoder.eval()
        return self

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Φ̃ ← momentum·Φ̃ + (1 − momentum)·Φ."""
        for key, query in zip(self.key_encoder.parameters(), self.query_encoder.parameters(), strict=True):
            key.lerp_(query, 1 - momentum)

    @torch.no_grad()
    def keys(self, clips: Tensor) -> Tensor:
        """Φ̃ of clips uint8 [B, T, S, S, 3], [B, D]."""
        keys: Tensor = self.key_encoder(clips)
        return keys

    @torch.no_grad()
    def enqueue(self, keys: Tensor, videos: Tensor) -> None:
        """Put keys [B, D] of ``videos`` [B], of every process, in the place of the oldest ones."""
        keys, videos = gathered(keys), gathered(videos)
        length = len(self.queue)
        keys, videos = keys[-length:], videos[-length:]
        places = (int(self.position) + torch.arange(len(keys), device=keys.device)) % length
        self.queue[places] = keys.to(self.queue.dtype)
        self.queue_videos[places] = videos
        self.position.fill_((int(self.position) + len(keys)) % length)


def gathered(values: Tensor) -> Tensor:
    """Rows of all processes, in order of rank; no gradient flows."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)
