"""Which embedder a name stands for: one of the two that come with the package, or a trained encoder's folder."""

from pathlib import Path

from fewmask.errors import ConfigError
from fewmask.models.device import resolve_device
from fewmask.retrieval.encoder import ClipEncoder, encoder_name
from fewmask.retrieval.fixed_features import ClipEmbedder, FixedFeatures
from fewmask.retrieval.pool import Pool

FIXED = "fixed"
"""ImageNet features that never saw a video."""
SMALL = "small"
"""The encoder that comes with the package, taught on unlabelled videos."""
AUTO = "auto"
"""The one with which a pool was made, if it came with the package."""
BUNDLED = Path(__file__).parent / "weights" / "clip_encoder"


def load_embedder(name: str | Path = FIXED, *, weights: Path | None = None, device: str = "auto") -> ClipEmbedder:
    """The embedder called ``name``.

    Args:
        name: "fixed", "small", or the folder of an encoder trained with `fewmask train clip-encoder`.
        weights: another file for the fixed features, safetensors with torchvision's key names.
        device: "auto" takes a CUDA device if there is one.

    Raises:
        ConfigError: no such embedder, or weights given for a trained encoder.
        CheckpointError: weights that are missing, damaged or of another network.
    """
    place = resolve_device(device)
    if str(name) == FIXED:
        return FixedFeatures.load(weights, device=place)
    folder = BUNDLED if str(name) == SMALL else Path(name)
    if weights is not None or not folder.is_dir():
        raise ConfigError(
            f"{name}: not the folder of a trained encoder; give one, 'small' for the bundled one, or 'fixed' for "
            "ImageNet features"
        )
    return ClipEncoder.from_pretrained(folder, device=place)


def embedder_name(pool: Pool, name: str | Path = AUTO, *, weights: Path | None = None) -> str:
    """What ``load_embedder`` is to be asked for: for "auto" the one that made the pool, for a new pool "small".

    Args:
        pool: to be searched or added to.
        name: as `load_embedder` takes it, or "auto".
        weights: for the fixed features, which they ask for.

    Raises:
        ConfigError: "auto", and the pool was made with an encoder that did not come with the package.
    """
    if str(name) != AUTO:
        return str(name)
    if pool.index.dimension is None:
        return FIXED if weights else SMALL
    made_with = pool.index.about.get("embedder", FixedFeatures.bundled_name)
    if weights is not None or made_with == FixedFeatures.bundled_name:
        return FIXED
    if made_with == encoder_name(BUNDLED):
        return SMALL
    raise ConfigError(f"{pool.index.folder}: made with the embedder {made_with}; name its folder with --encoder")


def embedder_of(
    pool: Pool, name: str | Path = AUTO, *, weights: Path | None = None, device: str = "auto"
) -> ClipEmbedder:
    """The embedder with which to search a pool or add to it; see `embedder_name`.

    Raises:
        ConfigError, CheckpointError: as `embedder_name` and `load_embedder`.
    """
    return load_embedder(embedder_name(pool, name, weights=weights), weights=weights, device=device)
