"""Training the action localiser on seen classes, on rows computed before: a query and supports of its class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewmask.errors import DatasetError
from fewmask.media.atomic import write_json
from fewmask.metrics.temporal_precision import Stretch, temporal_iou
from fewmask.models.weights_file import save_weights
from fewmask.selfshot.localiser import ActionLocaliser, LocaliserConfig
from fewmask.selfshot.localiser_losses import StretchTargets, stretch_losses
from fewmask.training.settings import TrainSettings

SAME = 0.6
"""Stretches of one video that overlap by this much are one; the surer is kept."""


@dataclass(frozen=True)
class ActionQuery:
    """An untrimmed video and the stretches of one class in it, starts and ends as shares of the video."""

    rows: Tensor
    label: str
    stretches: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Sample:
    query: ActionQuery
    supports: list[Tensor]


class LocaliserTask:
    """The `TrainTask` of the localiser.

    Args:
        config: of the network.
        settings: seed and steps.
        queries: videos of seen classes.
        supports: rows of trimmed clips by class.
        shots: supports per query.

    Raises:
        DatasetError: no query, or none of whose class a clip is there.
    """

    network: nn.Module

    def __init__(
        self,
        config: LocaliserConfig,
        settings: TrainSettings,
        queries: Sequence[ActionQuery],
        supports: Mapping[str, Sequence[Tensor]],
        *,
        shots: int = 5,
    ) -> None:
        self._queries = [query for query in queries if query.stretches and supports.get(query.label)]
        if not self._queries:
            raise DatasetError("no video shows an action of which there is a support clip; give clips of its class")
        self._supports, self._shots, self._seed = supports, shots, settings.seed
        torch.manual_seed(settings.seed)
        self.network = self._localiser = ActionLocaliser(config)
        every = [query.rows for query in self._queries] + [clip for clips in supports.values() for clip in clips]
        self._localiser.normalise_by(torch.cat(every))

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """All alike."""
        return [{"params": list(self.network.parameters()), "lr": learning_rate, "weight_decay": weight_decay}]

    def sample(self, number: int) -> _Sample:
        """One episode, in an order that is drawn anew for every round."""
        round_, place = divmod(number, len(self._queries))
        query = self._queries[
            int(np.random.default_rng((self._seed, 1, round_)).permutation(len(self._queries))[place])
        ]
        chance = np.random.default_rng((self._seed, 2, number))
        clips = self._supports[query.label]
        count = int(chance.integers(1, self._shots + 1))
        chosen = chance.choice(len(clips), count, replace=len(clips) < count).tolist()
        if chance.random() < 0.5:  # the video backwards in time, pieces whole
            back = tuple((1 - end, 1 - start) for start, end in query.stretches)
            query = ActionQuery(query.rows.flip(0), query.label, back)
        return _Sample(query, [clips[clip] for clip in chosen])

    def collate(self, samples: Sequence[_Sample]) -> list[_Sample]:
        """Videos differ in length: a plain list."""
        return list(samples)

    def loss(self, batch: list[_Sample], device: torch.device) -> dict[str, Tensor]:
        """Mean over the episodes."""
        sums: dict[str, Tensor] = {}
        for sample in batch:
            prediction = self._localiser(sample.query.rows.to(device), [clip.to(device) for clip in sample.supports])
            targets = StretchTargets.of(torch.tensor(sample.query.stretches), len(sample.query.rows))
            losses = stretch_losses(prediction, StretchTargets(*(part.to(device) for part in targets)))
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value / len(batch)
        return sums

    def validate(self) -> dict[str, float]:
        """Nothing: what it is worth is measured on unseen classes."""
        return {}

    def save(self, folder: Path) -> None:
        """``localiser.json`` and the weights."""
        save_weights(self._localiser.state_dict(), folder)
        write_json(folder / "localiser.json", self._localiser.config.model_dump(mode="json"), indent=1)


@torch.no_grad()
def localise(network: ActionLocaliser, query: Tensor, supports: Sequence[Tensor]) -> list[Stretch]:
    """Stretches of a video as shares of it, best first; of those that overlap much the surest."""
    prediction = network(query, supports)
    ends = torch.stack(
        [prediction.spans[:, 0] - prediction.spans[:, 1] / 2, prediction.spans[:, 0] + prediction.spans[:, 1] / 2], 1
    )
    spans, scores = ends.clamp(0, 1).double().cpu().numpy(), prediction.logits.sigmoid().cpu().numpy()
    kept: list[int] = []
    for slot in np.argsort(-scores, kind="stable").tolist():
        if not kept or temporal_iou(spans[slot], spans[kept]).max() < SAME:
            kept.append(slot)
    return [Stretch(float(spans[slot, 0]), float(spans[slot, 1]), float(scores[slot])) for slot in kept]
