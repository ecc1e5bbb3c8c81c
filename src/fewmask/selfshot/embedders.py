"""Which embedder a name stands for: one of the two that come with the package, or a trained encoder's folder."""

from importlib import resources
from pathlib import Path

from fewmask.errors import ConfigError
from fewmask.models.device import resolve_device
from fewmask.selfshot.fixed_features import ClipEmbedder, FixedFeatures
from fewmask.selfshot.pool import Pool

FIXED = "fixed"
"""ImageNet features that never saw a video."""
SMALL = "small"
"""The clip encoder that comes with the package."""
AUTO = "auto"
"""The one of the two with which a pool was made."""


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
    folder = Path(name)
    if str(name) == SMALL:
        folder = Path(str(resources.files("fewmask.selfshot"))) / "weights" / "clip_encoder_small"
    if weights is not None or not folder.is_dir():
        raise ConfigError(f"{name}: not the folder of a trained encoder; give one, or 'small' or 'fixed'")
    from fewmask.selfshot.encoder import ClipEncoder

    return ClipEncoder.from_pretrained(folder, device=place)


def embedder_of(
    pool: Pool, name: str | Path = AUTO, *, weights: Path | None = None, device: str = "auto"
) -> ClipEmbedder:
    """The embedder with which to search a pool.

    Args:
        pool: where to search.
        name: as `load_embedder` takes it; "auto" tries those that come with the package.
        weights: as `load_embedder` takes it.
        device: likewise.

    Raises:
        ConfigError: "auto", and the pool was made with another embedder.
        CheckpointError: as `load_embedder`.
    """
    if str(name) != AUTO:
        return load_embedder(name, weights=weights, device=device)
    made_with = pool.index.about.get("embedder", FixedFeatures.name)
    found = load_embedder(FIXED if made_with == FixedFeatures.name else SMALL, weights=weights, device=device)
    if found.name != made_with:
        raise ConfigError(f"{pool.index.folder}: made with the embedder {made_with}; name its folder with --encoder")
    return found
