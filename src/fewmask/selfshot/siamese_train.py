"""Training Siamese Mask R-CNN on the same episodes as the transformer, and its folder of weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fewmask.errors import CheckpointError
from fewmask.media.atomic import write_json
from fewmask.media.own_files import read_json
from fewmask.models.weights_file import halved, load_weights, save_weights
from fewmask.selfshot.backbone import Backbone, Maps
from fewmask.selfshot.evaluate import Episode, oracle_episodes, score_episodes
from fewmask.selfshot.siamese import SiameseMaskRcnn
from fewmask.selfshot.siamese_tracks import siamese_tracks
from fewmask.selfshot.tracks import ClipTargets
from fewmask.selfshot.train import TransformerTask
from fewmask.selfshot.transformer import TransformerConfig

_DESCRIPTION = "siamese.json"


class SiameseTask(TransformerTask):
    """The `TrainTask` of the baseline: queries, supports and objects are those of `TransformerTask`."""

    def _made(self) -> Backbone:
        self.network = self._siamese = SiameseMaskRcnn(self.recipe.network)
        return self._siamese.backbone

    def _losses(
        self, query: Tensor | Maps, supports: Sequence[Tensor | Maps], targets: ClipTargets
    ) -> dict[str, Tensor]:
        return self._siamese.losses(query, self._siamese.means(supports), targets)

    def validate(self) -> dict[str, float]:
        """Video AP50 of the held-out videos with oracle supports, pooled."""
        if self._held_out is None:
            return {}
        dataset, root = self._held_out
        self._siamese.eval()
        videos = {video.id: video for video in dataset.videos}
        episodes: Sequence[Episode] = oracle_episodes(dataset, root, shots=self.recipe.shots)
        found = [siamese_tracks(self._siamese, videos[e.video], root, e.supports) for e in episodes]
        pooled = score_episodes(dataset, episodes, found).pooled
        return {} if pooled is None else {"AP50_pooled": pooled}

    def save(self, folder: Path) -> None:
        """Write the network as `load_siamese` reads it."""
        save_weights(halved(self._siamese.state_dict()), folder)
        write_json(folder / _DESCRIPTION, self._siamese.config.model_dump(mode="json"), indent=1)


def load_siamese(folder: str | Path, *, device: str | torch.device = "cpu") -> SiameseMaskRcnn:
    """The network that `SiameseTask` wrote, in evaluation mode.

    Raises:
        CheckpointError: missing, damaged, or weights that do not fit the description.
    """
    path = Path(folder) / _DESCRIPTION
    config = read_json(path, TransformerConfig, "it is not the description of a network", error=CheckpointError)
    network = SiameseMaskRcnn(config)
    load_weights(network, Path(folder))
    return network.to(device).eval()
