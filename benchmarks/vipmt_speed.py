"""Frames per second of VIPMT against a direct transcription of the published procedure, with equal output.

The published procedure sends supports and memory pictures through the whole network at every clip, projects keys and
values token by token, and compares whole masked maps. Here supports and reliable frames are encoded once. Both see
the same frames, weights, threshold and memory draws; the script stops if a mask or a score differs.

    python benchmarks/vipmt_speed.py --config paper --frames 25
    python benchmarks/vipmt_speed.py --config small --memory-frames 2000    memory of the process over a long video
"""

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewmask.media import rle
from fewmask.media.frame_source import Frame
from fewmask.vipmt import prototype_activation, similarity
from fewmask.vipmt.attention import OUTSIDE, MaskedAttention
from fewmask.vipmt.config import NAMED
from fewmask.vipmt.letterbox import normalise
from fewmask.vipmt.memory import ReliableMemory
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.stream import ClipStream, fit_support
from fewmask.vipmt.support import DEFAULT_NAME, SupportSet, read_support


class LiteralAttention(torch.nn.Module):
    """Eq 4 with keys and values of every token, in the place of ``MaskedAttention``."""

    def __init__(self, like: MaskedAttention) -> None:
        super().__init__()
        self.like = like

    def weights(self, prototype: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        query, keys = self.like.query(prototype), self.like.key(tokens)
        attended = inside | ~inside.any(-1, keepdim=True)
        logits = (keys @ query[..., None]).squeeze(-1) / prototype.shape[-1] ** 0.5
        return (logits + (~attended).to(logits.dtype) * OUTSIDE).softmax(-1)

    def gather(self, weights: Tensor, tokens: Tensor) -> Tensor:
        return self.like.output((weights[..., None, :] @ self.like.value(tokens)).squeeze(-2))

    def forward(self, prototype: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        return self.gather(self.weights(prototype, tokens, inside), tokens)


def literal_best(pixels: Tensor, region: Tensor, *, partial: bool = True) -> Tensor:
    """Best cosine with the whole masked map: the pixels outside the region are zero vectors."""
    padding = region.new_zeros(max(len(pixels) - len(region), 0) if partial else 0, region.shape[1])
    keys = torch.cat((region, padding))
    if len(keys) == 0:
        return pixels.new_zeros(len(pixels))
    norms = pixels.norm(dim=1)[:, None] * keys.norm(dim=1) + similarity.EPS
    return (pixels @ keys.T / norms).amax(1)


def literal_prior(pooled: Tensor, regions: Sequence[Tensor]) -> Tensor:
    """The prior frame by frame and support by support, as published."""
    height, width = pooled.shape[-2:]
    frames = []
    for frame in pooled:
        pixels = frame.flatten(1).T
        maps = [literal_best(pixels, region, partial=len(region) < height * width) for region in regions]
        frames.append(similarity.min_max(torch.stack(maps)).mean(0).view(height, width))
    return torch.stack(frames)


@torch.inference_mode()
def published_procedure(
    network: VIPMTNetwork, images: Tensor, support: Tensor, support_masks: Tensor, seed: int
) -> tuple[list[Tensor], list[float]]:
    """Masks and scores of every frame, everything encoded anew at every clip."""
    config = network.config
    draws = ReliableMemory(seed, DEFAULT_NAME)
    pool: dict[int, tuple[Tensor, Tensor]] = {}
    masks: list[Tensor] = []
    scores: list[float] = []
    for clip, start in enumerate(range(0, len(images), config.clip_length)):
        frames = images[start : start + config.clip_length]
        chosen = draws.chosen(clip, config.memory_length)
        memory = torch.stack([pool[i][0] for i in chosen]) if chosen else None
        memory_masks = torch.stack([pool[i][1] for i in chosen]) if chosen else None
        result = network(frames, support, support_masks, memory, memory_masks)
        for t, (mask, score) in enumerate(zip(result.masks, result.iou_scores, strict=True)):
            if score >= config.memory_threshold and mask.any():
                draws.add(start + t, None)  # type: ignore[arg-type]  # only the draw is used here
                pool[start + t] = (frames[t], mask)
            masks.append(mask)
            scores.append(float(score))
    return masks, scores


def transcribed(network: VIPMTNetwork) -> None:
    """Put the literal attention into the network."""
    for iteration in network.transformer.iterations:
        for name in ("exemplar_attention", "clip_attention", "frame_attention"):
            setattr(iteration, name, LiteralAttention(getattr(iteration, name)))


def resident_mib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def long_video(network: VIPMTNetwork, support: SupportSet, length: int) -> None:
    """Stream noise that never repeats; every frame is reliable, so the memory is as full as it can be."""
    generator = np.random.default_rng(1)
    stream = ClipStream(network, fit_support(network, support))
    clip = network.config.clip_length
    first = 0.0
    for start in range(0, length, clip):
        pictures = generator.integers(0, 256, (clip, *network.config.input_size, 3), dtype=np.uint8)
        stream.step([Frame(start + t, float(start + t), rgb) for t, rgb in enumerate(pictures)])
        done = start + clip
        if done % (length // 10) < clip:
            first = first or resident_mib()
            print(f"frame {done}: {resident_mib():.0f} MiB ({resident_mib() - first:+.0f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=sorted(NAMED), default="paper")
    parser.add_argument("--weights", help="saved weights; random ones otherwise (every frame then counts as reliable)")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--memory-frames", type=int, default=0, help="instead, stream so many frames and print memory")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.weights:
        network = VIPMT.from_pretrained(arguments.weights, device="cpu").network
    else:
        network = VIPMTNetwork(replace(NAMED[arguments.config], memory_threshold=0.0)).eval()
    height, width = network.config.input_size
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (arguments.frames + arguments.shots, height, width, 3), dtype=np.uint8)
    inside = np.zeros((arguments.shots, height, width), dtype=bool)
    inside[:, height // 4 : height // 2, width // 4 : width // 2] = True
    support = read_support(list(zip(pictures[: arguments.shots], inside, strict=True)))
    frames = [Frame(i, float(i), rgb) for i, rgb in enumerate(pictures[arguments.shots :])]

    if arguments.memory_frames:
        long_video(network, support, arguments.memory_frames)
        return
    started = time.perf_counter()
    stream = ClipStream(network, fit_support(network, support))
    ours = []
    for start in range(0, len(frames), network.config.clip_length):
        ours += stream.step(frames[start : start + network.config.clip_length])
    fast = time.perf_counter() - started

    transcribed(network)
    prototype_activation.prior_maps = literal_prior
    similarity.best_cosine = literal_best
    started = time.perf_counter()
    masks, scores = published_procedure(
        network,
        normalise(np.stack([frame.rgb for frame in frames])),
        normalise(pictures[: arguments.shots]),
        torch.from_numpy(inside),
        seed=0,
    )
    slow = time.perf_counter() - started

    differing = 0
    for result, mask, score in zip(ours, masks, scores, strict=True):
        found = rle.decode(result.masks[0]) if result.masks[0] is not None else np.zeros((height, width), dtype=bool)
        differing += int((found != mask.numpy()).sum())
        if abs(result.scores[0] - score) > 1e-3:
            raise SystemExit(f"frame {result.index}: scores differ, {result.scores[0]:.5f} against {score:.5f}")
    share = differing / (len(frames) * height * width)
    print(f"ours {len(frames) / fast:.2f} frames/s, published procedure {len(frames) / slow:.2f} frames/s")
    print(f"ratio {slow / fast:.2f}; pixels that differ: {share:.2e} of all (float32 rounding only if below 3e-3)")
    if share > 3e-3:
        raise SystemExit("the outputs differ")


if __name__ == "__main__":
    main()
