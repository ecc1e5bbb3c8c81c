"""The baselines of Table 11: Siamese Mask R-CNN with support means, and the few-shot transformer."""

from importlib import resources

import numpy as np
import pytest
import torch

from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import CheckpointError, ConfigError
from fewmask.media import rle
from fewmask.retrieval.fixed_features import BUNDLED
from fewmask.selfshot.evaluate import Episode, evaluate, oracle_episodes, score_episodes, video_places
from fewmask.selfshot.pretrained import load_transformer, save_transformer
from fewmask.selfshot.siamese import SiameseMaskRcnn
from fewmask.selfshot.siamese_tracks import linked, siamese_tracks
from fewmask.selfshot.siamese_train import SiameseTask, load_siamese
from fewmask.selfshot.tracks import ClipTargets
from fewmask.selfshot.train import TransformerRecipe, TransformerTask
from fewmask.selfshot.transformer import CommonInstanceTransformer, EncodedSupports
from fewmask.training.loop import train
from fewmask.training.settings import TrainSettings

from .test_train import write_videos
from .test_transformer import TINY, pictures, started

FEW_SHOT = TINY.model_copy(update={"structure": "few_shot", "fuser_layers": 0, "encoder_layers": 2})
INITIAL = resources.files("fewmask.retrieval") / "weights" / BUNDLED


@pytest.fixture(scope="module")
def siamese():
    torch.manual_seed(0)
    return SiameseMaskRcnn(TINY).eval()


@torch.no_grad()
def test_the_mean_is_over_all_places_of_all_frames(siamese):
    clips = [pictures(2, 1), pictures(1, 2), pictures(2, 3)]
    means = siamese.means(clips)
    for level, mean in enumerate(means):
        each = [siamese._levels(picture[None])[level][0] for clip in clips for picture in clip]
        plain = sum(one.flatten(1).mean(1) for one in each) / len(each)
        torch.testing.assert_close(mean, plain, atol=1e-4, rtol=1e-3)
    again = siamese.means(clips[::-1])
    for one, other in zip(means, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="support"):
        siamese.means([])


@torch.no_grad()
def test_heads_see_the_difference_to_the_supports(siamese):
    seen = []
    handle = siamese.match[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    means = siamese.means([pictures(1, 1)])
    found = siamese(pictures(3), means, (30, 40))
    handle.remove()
    level = siamese._levels(pictures(3))[0]
    width = TINY.width
    torch.testing.assert_close(seen[0][:, :width], level)
    torch.testing.assert_close(seen[0][2, width:, 1, 3], (level[2, :, 1, 3] - means[0]).abs())
    assert len(found) == 3
    for frame in found:
        assert frame["masks"].shape == (len(frame["scores"]), 30, 40)
        assert frame["masks"].dtype == torch.bool
        assert len(frame["scores"]) <= TINY.slots
        assert (frame["scores"].diff() <= 0).all()


def test_frames_without_the_object_are_taught_too(siamese):
    masks = torch.zeros(1, 4, 48, 64, dtype=torch.bool)
    masks[0, :2, 10:30, 5:25] = True
    network = SiameseMaskRcnn(TINY).train()
    losses = network.losses(pictures(4), network.means([pictures(1, 1)]), ClipTargets.from_masks(masks))
    assert set(losses) == {
        "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"
    }  # fmt: skip
    torch.stack(list(losses.values())).sum().backward()
    assert torch.isfinite(torch.stack(list(losses.values()))).all()
    assert network.match[2].weight.grad.abs().sum() > 0
    nothing = network.losses(
        pictures(4), network.means([pictures(1, 1)]), ClipTargets.from_masks(torch.zeros(0, 4, 48, 64).bool())
    )
    assert all(torch.isfinite(value) for value in nothing.values())


def box(left, top=2, size=6):
    mask = np.zeros((20, 40), bool)
    mask[top : top + size, left : left + size] = True
    return rle.encode(mask)


def test_masks_are_linked_by_overlap_and_a_track_without_one_has_ended():
    frames = [
        ([0.9, 0.5], [box(2), box(30)]),
        ([0.4, 0.8], [box(29), box(4)]),  # in another order, both moved a little
        ([0.6], [box(6)]),
        ([0.7, 0.3], [box(7), box(28)]),  # the second was gone for a frame: a new track
    ]
    tracks = linked(frames)
    assert [round(score, 6) for score, _ in tracks] == [round((0.9 + 0.8 + 0.6 + 0.7) / 4, 6), 0.225, 0.075]
    assert tracks[0][1] == [box(2), box(4), box(6), box(7)]
    assert tracks[1][1] == [box(30), box(29), None, None]
    assert tracks[2][1] == [None, None, None, box(28)]
    assert linked([([], []), ([], [])]) == []


def recipe(steps, **changes):
    settings = TrainSettings(steps=steps, batch_size=1, learning_rate=3e-3, checkpoint_every=10**6, clip_norm=5.0)
    network = TINY.model_copy(update=changes)
    return TransformerRecipe.model_validate(
        {"network": network, "backbone_rate": 0.0, "shots": 1, "train": settings}
    )  # fmt: skip


def test_siamese_mask_rcnn_learns_and_comes_back_from_its_folder(tmp_path):
    data = write_videos(tmp_path / "data", size=(48, 64))
    dataset, root = read_ytvis(data), data.parent / "JPEGImages"
    task = SiameseTask(recipe(60), dataset, root, INITIAL, (dataset, root))
    totals = []
    (tmp_path / "run").mkdir()
    figures = train(
        task, recipe(60).train, tmp_path / "run", device=torch.device("cpu"),
        report=lambda line: totals.append(line.losses["total"]),
    )  # fmt: skip
    assert 0 <= figures["AP50_pooled"] <= 1
    assert totals[-1] < 0.7 * totals[0]
    network, episodes, found = load_siamese(tmp_path / "run" / "weights"), oracle_episodes(dataset, root, shots=1), []
    for episode in episodes:
        video = next(v for v in dataset.videos if v.id == episode.video)
        found.append(siamese_tracks(network, video, root, episode.supports))
        assert all(len(masks) == video.length for _, masks in found[-1])
    # What came back from the folder is what was measured while training.
    assert score_episodes(dataset, episodes, found).pooled == pytest.approx(figures["AP50_pooled"], abs=1e-6)
    with pytest.raises(CheckpointError):
        load_siamese(tmp_path / "data")


@torch.no_grad()
def test_in_the_few_shot_transformer_only_the_query_looks_at_the_supports(tmp_path):
    network = started(FEW_SHOT)
    supports = network.encode_supports([pictures(2, 1), pictures(1, 2)])
    kept = supports.tokens.clone()
    one = network(pictures(4), supports)
    assert torch.equal(supports.tokens, kept)
    other = network(pictures(4), network.encode_supports([pictures(2, 5)]))
    assert (one.slots.class_logits - other.slots.class_logits).abs().max() > 1e-4
    # By hand: the layers of the query, then the decoder.
    query = network.encode(pictures(4), support=False)
    fused = query.tokens
    torch.testing.assert_close(fused, network.reduce(query.maps.stride16).movedim(1, -1).flatten(0, 2))
    for layer in network.joint:
        placed = fused + query.code
        fused = layer.norm_self(fused + layer.self_attention(placed, placed, fused))
        attended = layer.cross_attention(fused + query.code, supports.tokens, supports.tokens)
        fused = layer.feed_forward(layer.norm_cross(fused + attended))
    torch.testing.assert_close(one.common, network.common(fused).view(query.grid))
    save_transformer(network, tmp_path / "w")
    again = load_transformer(tmp_path / "w")
    assert again.config == FEW_SHOT
    loaded = again(pictures(4), again.encode_supports([pictures(2, 1), pictures(1, 2)]))
    assert torch.allclose(loaded.slots.class_logits, one.slots.class_logits, atol=0.05)  # half precision


def test_a_few_shot_transformer_has_no_fuser():
    with pytest.raises(ConfigError, match="fuser_layers is 1"):
        CommonInstanceTransformer(TINY.model_copy(update={"structure": "few_shot"}))
    common = CommonInstanceTransformer(TINY)
    assert len(common.joint) == 0  # weights made before stay as they are


def test_the_few_shot_transformer_trains_and_is_evaluated_as_the_other(tmp_path):
    data = write_videos(tmp_path / "data", size=(48, 64))
    dataset, root = read_ytvis(data), data.parent / "JPEGImages"
    changes = {"structure": "few_shot", "fuser_layers": 0}
    (tmp_path / "run").mkdir()
    task = TransformerTask(recipe(3, **changes), dataset, root, INITIAL)
    train(task, recipe(3).train, tmp_path / "run", device=torch.device("cpu"))
    network = load_transformer(tmp_path / "run" / "weights")
    places = video_places(dataset, root)
    assert evaluate(network, dataset, root, [Episode(2, 1, (places[4],))]).pooled is not None
    assert isinstance(network.encode_supports([pictures(1)]), EncodedSupports)
