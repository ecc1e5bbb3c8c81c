"""Which embedder "auto" stands for, and the bundled encoder itself."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from small_pool import COLOURS, MeanColours, moving_square, write_video

from fewmask.errors import ConfigError
from fewmask.retrieval.embedders import embedder_name, embedder_of, load_embedder
from fewmask.retrieval.fixed_features import BUNDLED
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.retrieve import retrieve


@pytest.fixture
def pool(tmp_path):
    def made_with(embedder):
        folder = tmp_path / type(embedder).__name__
        folder.mkdir()
        write_video(folder / "red.mp4", moving_square(COLOURS["red"], 6, seed=0))
        made = Pool.open(folder / "pool")
        made.add([folder / "red.mp4"], embedder)
        return Pool.open(folder / "pool")

    return made_with


def test_a_new_pool_gets_the_bundled_encoder_and_an_old_one_its_own(pool, tmp_path):
    new = Pool.open(tmp_path / "new")
    assert embedder_name(new) == "small"
    assert embedder_name(new, weights=tmp_path / "weights.safetensors") == "fixed"
    assert embedder_name(new, "runs/encoder") == "runs/encoder"
    for name in ("fixed", "small"):
        embedder = load_embedder(name, device="cpu")
        made = pool(embedder)
        assert embedder_name(made) == name
        assert embedder_of(made, device="cpu").name == embedder.name
    other = pool(MeanColours())
    with pytest.raises(ConfigError, match="--encoder"):
        embedder_of(other)


def test_the_bundled_encoder_gives_unit_vectors_that_tell_scenes_apart():
    encoder = load_embedder("small", device="cpu")
    scenes = np.random.default_rng(0).integers(0, 256, (2, 1, 4, 4, 3)).astype(np.uint8)
    clips = scenes.repeat(3, 1).repeat(56, 2).repeat(56, 3)  # two mosaics of 4 x 4 colours, [2, 3, 224, 224, 3]
    vectors = encoder.embed(clips)
    assert vectors.shape == (2, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    dimmed = encoder.embed((clips * 0.8).astype(np.uint8))
    cosines = dimmed @ vectors.T
    assert (cosines.argmax(1) == [0, 1]).all()


def test_fixed_features_with_other_weights_are_another_embedder(pool, tmp_path):
    bundled = Path(str(resources.files("fewmask.retrieval"))) / "weights" / BUNDLED
    state = load_file(bundled)
    name = next(iter(state))
    save_file({**state, name: state[name] * 1.01}, tmp_path / "other.safetensors")
    (tmp_path / "same.safetensors").write_bytes(bundled.read_bytes())
    other = load_embedder("fixed", weights=tmp_path / "other.safetensors", device="cpu")
    usual = load_embedder("fixed", device="cpu")
    assert load_embedder("fixed", weights=tmp_path / "same.safetensors", device="cpu").name == usual.name
    assert other.name != usual.name
    made = pool(other)
    assert embedder_of(made, weights=tmp_path / "other.safetensors", device="cpu").name == other.name
    with pytest.raises(ConfigError, match="made with the embedder mobilenet"):
        retrieve(tmp_path / "FixedFeatures" / "red.mp4", made, usual, 1)
