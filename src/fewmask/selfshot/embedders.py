"""Which embedder a name stands for: the fixed features that come with the package, or a trained encoder's folder."""

from pathlib import Path

from fewmask.errors import ConfigError
from fewmask.models.device import resolve_device
from fewmask.selfshot.fixed_features import ClipEmbedder, FixedFeatures
from fewmask.selfshot.pool import Pool

FIXED = "fixed"
"""ImageNet features that never saw a video."""
AUTO = "auto"
"""The one with which a pool was made, if it came with the package."""


def load_embedder(name: str | Path = FIXED, *, weights: Path | None = None, device: str = "auto") -> ClipEmbedder:
    """The embedder called ``name``.

    Args:
        name: "fixed", or the folder of an encoder trained with `fewmask train clip-encoder`.
        weights: another file for the fixed features, safetensors with torchvision's key names.
        device: "auto" takes a CUDA device if there is one.

    Raises:
        ConfigError: no such embedder, or weights given for a trained encoder.
        CheckpointError: weights that are missing, damaged or of another network.
    """
    place = resolve_device(device)
    if str(name) == FIXED:
        return FixedFeatures.load(weights, device=place)
    folder = Path(name)
    if weights is not None or not folder.is_dir():
        raise ConfigError(f"{name}: not the folder of a trained encoder; give one, or 'fixed' for ImageNet features")
    from fewmask.selfshot.encoder import ClipEncoder

    return ClipEncoder.from_pretrained(folder, device=place)


def embedder_of(
    pool: Pool, name: str | Path = AUTO, *, weights: Path | None = None, device: str = "auto"
) -> ClipEmbedder:
    """The embedder with which to search a pool.

    Args:
        pool: where to search.
        name: as `load_embedder` takes it, or "auto".
        weights: as `load_embedder` takes it.
        device: likewise.

    Raises:
        ConfigError: "auto", and the pool was made with another embedder.
        CheckpointError: as `load_embedder`.
    """
    if str(name) != AUTO:
        return load_embedder(name, weights=weights, device=device)
    made_with = pool.index.about.get("embedder", FixedFeatures.name)
    if made_with != FixedFeatures.name:
        raise ConfigError(f"{pool.index.folder}: made with the embedder {made_with}; name its folder with --encoder")
    return load_embedder(FIXED, weights=weights, device=device)
