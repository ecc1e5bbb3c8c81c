"""From a user's request to a mined dataset: which proposals, which cues, recorded in the manifest."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fewmask.errors import ConfigError
from fewmask.media.find_videos import find_sources
from fewmask.mining.background_net import BUNDLED, BackgroundNet
from fewmask.mining.flow import DisFlow, FlowEstimator, RaftFlow
from fewmask.mining.frame_candidates import BackgroundEstimator
from fewmask.mining.maskrcnn import MaskRcnnProposals
from fewmask.mining.mine_videos import MiningSummary, mine
from fewmask.mining.proposals import BoolMasks, Proposer, RgbImage, Scores
from fewmask.mining.sam import SamProposals
from fewmask.mining.settings import MiningSettings
from fewmask.mining.workers import VideoOutcome
from fewmask.minvis.frame_instances import resize_logits
from fewmask.minvis.pretrained import folder_of, load
from fewmask.models.device import resolve_device
from fewmask.models.weights_input import weights_input
from fewmask.pipelines.mine_request import MineRequest
from fewmask.pipelines.recipes import checked, read_toml

MINVIS_SCORE_THRESHOLD = 0.4
"""`MiningSettings.score_threshold` for MinVIS proposals, where the user sets none.

Unlike a detector's boxes every query brings a mask, also where it holds nothing. It goes with the scores of the bundled
weights: `reproduce/mining_selection.py` tries others, and prints how many frames are left without a proposal.
"""

_MOST_WORKERS = 8  # each holds its own networks; more must be asked for


class MinvisProposals:
    """A proposer from any MinVIS segmenter: one mask per query, scored without regard to class.

    The score is the probability that the query holds an object at all, times the mean mask probability inside, at the
    network's own resolution.
    """

    def __init__(self, weights: str | Path, device: str, most: int | None = None) -> None:
        """Load the segmenter.

        Args:
            weights: "small" (bundled), a folder, or a name on the hub.
            device: where it runs.
            most: only so many masks, the best by score, are brought to the size of the frame; None = all.
        """
        self._segmenter = load(weights, device=device)
        self._most = most

    @property
    def short_side(self) -> int | None:
        """The size the segmenter was trained for; None = frames as they are."""
        return self._segmenter.short_side

    @torch.no_grad()
    def propose(self, rgb: RgbImage) -> tuple[BoolMasks, Scores]:
        """See `fewmask.mining.proposals.Proposer`; masks by falling score, without empty ones."""
        output = self._segmenter(rgb[None], short_side=self._segmenter.short_side)
        size = (rgb.shape[0], rgb.shape[1])
        logits = output.masks_queries_logits[0]  # [Q, h, w]
        rows, columns = (
            -(-logits.shape[axis + 1] * output.image_size[axis] // output.padded_size[axis]) for axis in (0, 1)
        )
        small = logits[:, :rows, :columns].flatten(1)
        inside = small > 0
        quality = (small.sigmoid() * inside).sum(1) / inside.sum(1).clamp(min=1)
        scores = (1 - output.class_queries_logits[0].float().softmax(-1)[:, -1]) * quality
        order = scores.argsort(descending=True, stable=True)
        order = order[inside.any(1)[order]][: self._most]
        masks = resize_logits(logits[order], output.padded_size, output.image_size, size) > 0
        return masks.cpu().numpy(), scores[order].double().cpu().numpy()


def run_mine(
    request: MineRequest,
    report: Callable[[VideoOutcome, int, int], None] = lambda *_: None,
    progress: Callable[[str, str, int], None] = lambda *_: None,
) -> MiningSummary:
    """Mine the videos of a request.

    Raises:
        FewmaskError: anything wrong with the request, the weights or the folder; bad videos are skipped instead.
    """
    device = str(resolve_device(request.device))
    settings = mining_settings(request)
    videos = find_sources(request.videos)
    workers = request.workers or _workers(len(videos), device)
    return mine(
        videos,
        request.out,
        proposer=proposer_of(request, device, settings.proposals),
        background=background_of(request, device),
        flow=flow_of(request, device),
        settings=settings,
        workers=workers,
        ray=request.ray,
        resume=request.resume,
        command=request.command,
        identity={"proposer": request.proposals, "flow": request.flow},
        weights=all_weights(request),
        report=report,
        progress=progress,
    )


def all_weights(request: MineRequest) -> dict[str, Any]:
    """The weights of a request's networks, as inputs of a run."""
    return {
        "weights": proposer_weights(request),
        "background_weights": weights_input(request.background, BUNDLED),
        "flow_weights": request.flow_weights,
    }


def proposer_weights(request: MineRequest) -> Any:
    """The weights of the proposals, as an input of a run."""
    if request.proposals == "minvis":
        return weights_input(folder_of(request.weights or "small"))
    return weights_input(request.weights)


def background_of(request: MineRequest, device: str) -> Callable[[], BackgroundEstimator]:
    """Makes the background network of a request, in whichever process."""
    return partial(BackgroundNet.from_pretrained, request.background, device)


def proposer_of(request: MineRequest, device: str, most: int) -> Callable[[], Proposer]:
    """Makes the proposer of a request, in whichever process; see `MinvisProposals` for ``most``.

    Raises:
        ConfigError: no such proposer, or it needs weights.
    """
    if request.proposals == "minvis":
        return partial(MinvisProposals, request.weights or "small", device, most)
    if request.proposals not in {"maskrcnn", "sam"}:
        raise ConfigError(f"proposals {request.proposals!r} is unknown; use minvis, maskrcnn or sam")
    if request.weights is None:
        raise ConfigError(f"proposals {request.proposals} need --weights: none ship with fewmask")
    if request.proposals == "sam":
        return partial(SamProposals, request.weights, device=device)
    return partial(MaskRcnnProposals, Path(request.weights), device=device)


def flow_of(request: MineRequest, device: str) -> Callable[[], FlowEstimator]:
    """Makes the flow estimator of a request, in whichever process.

    Raises:
        ConfigError: no such estimator.
    """
    if request.flow == "dis":
        return DisFlow
    if request.flow == "raft":
        return partial(RaftFlow, request.flow_weights, device=device)
    raise ConfigError(f"flow {request.flow!r} is unknown; use dis or raft")


def mining_settings(request: MineRequest) -> MiningSettings:
    """The settings of a request: single ones over those of its file over the usual ones."""
    usual = {"score_threshold": MINVIS_SCORE_THRESHOLD} if request.proposals == "minvis" else {}
    given = {} if request.settings_file is None else read_toml(request.settings_file)
    return checked({**usual, **given, **request.settings}, MiningSettings, str(request.settings_file or "settings"))


def _workers(videos: int, device: str) -> int:
    return max(1, min(os.cpu_count() or 1, videos, _MOST_WORKERS)) if device == "cpu" else 1
