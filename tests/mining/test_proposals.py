"""Proposals: the best N of any source, Mask R-CNN as the paper sets it, SAM through transformers."""

import numpy as np
import pytest
import torch

from fewmask.errors import CheckpointError, DatasetError
from fewmask.mining.maskrcnn import MaskRcnnProposals, class_agnostic_maskrcnn
from fewmask.mining.proposals import best_proposals
from fewmask.mining.sam import SamProposals


class Fixed:
    def __init__(self, masks, scores):
        self.answer = np.asarray(masks), np.asarray(scores)

    def propose(self, rgb):
        return self.answer


RGB = np.zeros((4, 5, 3), np.uint8)


def test_best_by_score_without_empty_ones():
    masks = np.zeros((5, 4, 5), bool)
    for i in (0, 1, 3, 4):
        masks[i, 0, i] = True
    found = best_proposals(Fixed(masks, [0.1, 0.9, 1.0, 0.9, -0.5]), RGB, 3, 0.0)
    assert found.scores.tolist() == [0.9, 0.9, 0.1]  # the empty one and the negative score are left out
    assert [int(np.flatnonzero(mask)[0]) for mask in found.masks] == [1, 3, 0]  # equal scores keep their order


@pytest.mark.parametrize(
    ("masks", "scores"), [(np.zeros((1, 5, 4)), [1.0]), (np.zeros((2, 4, 5)), [1.0]), (np.ones((1, 4, 5)), [np.nan])]
)
def test_answers_that_do_not_fit_the_frame(masks, scores):
    with pytest.raises(DatasetError):
        best_proposals(Fixed(masks, scores), RGB, 3, 0.0)


def test_other_weights_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError):
        MaskRcnnProposals(tmp_path / "other.pth")


@pytest.mark.slow
def test_maskrcnn_as_the_paper_sets_it(tmp_path):
    torch.manual_seed(0)
    network = class_agnostic_maskrcnn(short_side=96)
    assert network.roi_heads.score_thresh == 0
    assert network.roi_heads.nms_thresh == 0.5
    assert network.roi_heads.detections_per_img == 100
    assert network.roi_heads.box_predictor.cls_score.out_features == 2
    torch.save(network.state_dict(), tmp_path / "mp_rcnn.pth")
    rgb = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    masks, scores = MaskRcnnProposals(tmp_path / "mp_rcnn.pth", short_side=96).propose(rgb)
    assert masks.shape == (len(scores), 64, 96)
    assert len(scores) > 0
    assert masks.dtype == bool


@pytest.mark.slow
def test_sam_through_transformers(tmp_path):
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor, SamVisionConfig

    torch.manual_seed(0)
    vision = SamVisionConfig(
        hidden_size=32, output_channels=32, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16,
        mlp_dim=32, global_attn_indexes=[0], num_pos_feats=16,
    )  # fmt: skip
    prompt = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    }
    config = SamConfig(vision_config=vision.to_dict(), prompt_encoder_config=prompt, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(tmp_path)
    size = {"longest_edge": 64}
    SamProcessor(SamImageProcessor(size=size, pad_size={"height": 64, "width": 64})).save_pretrained(tmp_path)
    rgb = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    masks, scores = SamProposals(tmp_path, points_per_side=2).propose(rgb)
    assert masks.shape == (len(scores), 48, 64)
    with pytest.raises(CheckpointError):
        SamProposals(tmp_path / "nothing")
