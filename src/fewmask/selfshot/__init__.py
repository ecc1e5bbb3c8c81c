"""Self-Shot: support clips are found among unlabelled videos, then query and supports are segmented together."""

from fewmask.selfshot.index import ClipIndex
from fewmask.selfshot.retrieval_losses import instance_nce_loss, mil_nce_loss, rank_loss

__all__ = ["ClipIndex", "instance_nce_loss", "mil_nce_loss", "rank_loss"]
