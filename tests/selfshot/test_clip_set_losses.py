import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.errors import ConfigError
from fewmask.models.position3d import spatio_temporal_sine
from fewmask.selfshot.boxes import (
    box_iou,
    cxcywh_to_xyxy,
    generalized_box_iou,
    masks_to_boxes,
    xyxy_to_cxcywh,
)
from fewmask.selfshot.matching import Assignment, MatchingWeights, match_sequences, sequence_cost
from fewmask.selfshot.set_losses import clip_losses, dice_loss, focal_loss
from fewmask.selfshot.tracks import ClipPrediction, ClipTargets, SlotPrediction

FIXTURES = Path(__file__).parent / "fixtures"
CASES = np.load(FIXTURES / "cases.npz")
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


def recorded(name):
    return torch.tensor(CASES[name])


@pytest.mark.parametrize("case", EXPECTED["position_encoding"])
def test_position_code_matches_the_recorded_values(case):
    facts = EXPECTED["position_encoding"][case]
    padding = recorded(f"{case}.mask").unflatten(0, (facts["batch"], facts["frames"]))
    code = spatio_temporal_sine(padding, 3 * facts["feats_per_axis"], normalize=facts["normalize"])
    torch.testing.assert_close(code, recorded(f"{case}.out"), atol=1e-5, rtol=0)


def test_position_code_needs_pairs_on_every_axis():
    with pytest.raises(ConfigError, match="divisible by 6"):
        spatio_temporal_sine(torch.zeros(1, 2, 3, 3, dtype=torch.bool), 256)


def test_boxes_match_the_recorded_values():
    rows, columns = cxcywh_to_xyxy(recorded("boxes.a_cxcywh")), cxcywh_to_xyxy(recorded("boxes.b_cxcywh"))
    iou, union = box_iou(rows, columns)
    measured = {
        "a_xyxy": rows,
        "b_xyxy": columns,
        "iou": iou,
        "union": union,
        "giou": generalized_box_iou(rows, columns),
        "a_back_cxcywh": xyxy_to_cxcywh(rows),
    }
    for name, value in measured.items():
        torch.testing.assert_close(value, recorded(f"boxes.{name}"), atol=1e-5, rtol=0)
    boxes = masks_to_boxes(recorded("masks_to_boxes.masks"))
    torch.testing.assert_close(boxes, recorded("masks_to_boxes.boxes"))


def test_two_empty_boxes_at_one_place_overlap_fully_and_an_empty_mask_has_no_box():
    empty = torch.zeros(1, 4)
    assert box_iou(empty, empty)[0].item() == 1
    assert masks_to_boxes(torch.zeros(1, 5, 6, dtype=torch.bool)).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("case", EXPECTED["matcher"])
def test_sequence_matching_matches_the_recorded_cost_and_assignment(case):
    frames = EXPECTED["matcher"][case]["frames"]
    logits = recorded(f"{case}.pred_logits").unflatten(0, (frames, 10))
    boxes = recorded(f"{case}.pred_boxes").unflatten(0, (frames, 10))
    # Three recorded classes, of which 1 is foreground: merging the others leaves its probability unchanged.
    others = torch.logsumexp(logits[..., [0, 2]], -1)
    prediction = SlotPrediction(torch.stack([logits[..., 1], others], -1), boxes)
    present = recorded(f"{case}.target_valid").bool()
    targets = ClipTargets(recorded(f"{case}.target_boxes"), present, torch.zeros(*present.shape, 1, 1))
    cost = sequence_cost(prediction, targets, MatchingWeights())
    torch.testing.assert_close(cost, recorded(f"{case}.cost"), atol=1e-5, rtol=0)
    assignment = match_sequences(prediction, targets)
    assert assignment.slots.tolist() == CASES[f"{case}.slot"].tolist()
    assert assignment.targets.tolist() == CASES[f"{case}.target"].tolist()
    frame, slot, target = assignment.frames(present)
    assert (frame * 10 + slot).tolist() == CASES[f"{case}.pred_index"].tolist()
    assert (target * frames + frame).tolist() == CASES[f"{case}.target_index"].tolist()


def test_a_permuted_assignment_keeps_each_instance_its_own_frames():
    present = torch.tensor([[True, False, False], [True, True, True]])
    frame, slot, target = Assignment(torch.tensor([4, 7]), torch.tensor([1, 0])).frames(present)
    assert [*zip(frame.tolist(), slot.tolist(), target.tolist(), strict=True)] == [
        (0, 4, 1),
        (1, 4, 1),
        (2, 4, 1),
        (0, 7, 0),
    ]


@pytest.mark.parametrize("case", EXPECTED["losses"])
def test_focal_and_dice_match_the_recorded_values_and_gradients(case):
    facts = EXPECTED["losses"][case]
    logits = recorded(f"{case}.logits").requires_grad_()
    targets, count = recorded(f"{case}.targets"), facts["num_boxes"]
    focal, dice = focal_loss(logits, targets, count), dice_loss(logits, targets, count)
    assert focal.item() == pytest.approx(facts["focal_alpha.25_gamma2"], abs=1e-5)
    assert dice.item() == pytest.approx(facts["dice"], abs=1e-5)
    unweighted = focal_loss(logits, targets, count, alpha=None)
    assert unweighted.item() == pytest.approx(facts["focal_no_alpha"], abs=1e-5)
    (gradient,) = torch.autograd.grad(focal + dice, logits)
    torch.testing.assert_close(gradient, recorded(f"{case}.grad_of_sum"), atol=1e-5, rtol=0)


def clip_with(objects, frames=3, slots=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(objects, frames, 16, 24, dtype=torch.bool)
    for index in range(objects):
        masks[index, :, 2 + index * 6 : 7 + index * 6, 3 : 12 + index] = True
    logits = torch.randn(frames, slots, 2, generator=generator, requires_grad=True)
    boxes = torch.rand(frames, slots, 4, generator=generator, requires_grad=True)
    mask_logits = torch.randn(slots, frames, 8, 12, generator=generator, requires_grad=True)
    slots = SlotPrediction(logits, boxes)
    return ClipPrediction(slots, mask_logits.__getitem__, (slots,)), ClipTargets.from_masks(masks)


def test_the_loss_of_a_right_answer_is_near_zero_and_of_a_wrong_one_is_not():
    prediction, targets = clip_with(2)
    wrong = sum(clip_losses(prediction, targets).values())
    logits = torch.tensor([-9.0, 9.0]).expand(3, 5, 2).clone()
    boxes = torch.full((3, 5, 4), 0.5)
    masks = torch.full((5, 3, 16, 24), -20.0)
    for slot, instance in [(3, 0), (1, 1)]:
        logits[:, slot] = torch.tensor([9.0, -9.0])
        boxes[:, slot] = targets.boxes[instance]
        masks[slot][targets.masks[instance]] = 20.0
    right = ClipPrediction(SlotPrediction(logits, boxes), masks.__getitem__, ())
    assert sum(clip_losses(right, targets).values()).item() < 1e-3
    assert wrong.item() > 1


def test_an_absent_frame_is_taught_background_and_gives_no_box_or_mask_gradient():
    prediction, targets = clip_with(1)
    drawn = prediction.masks(torch.arange(5)).detach().requires_grad_()
    prediction = replace(prediction, masks=drawn.__getitem__)
    hidden = targets.masks.clone()
    hidden[0, 1] = False
    targets = ClipTargets.from_masks(hidden)
    assert targets.present.tolist() == [[True, False, True]]
    sum(clip_losses(prediction, targets).values()).backward()
    assert prediction.slots.boxes.grad[1].abs().sum() == 0
    assert drawn.grad[:, 1].abs().sum() == 0
    assert drawn.grad[:, 0].abs().sum() > 0


def test_a_clip_without_objects_teaches_background_only():
    prediction, _ = clip_with(1)
    targets = ClipTargets.from_masks(torch.zeros(0, 3, 16, 24, dtype=torch.bool))
    losses = clip_losses(prediction, targets)
    assert set(losses) >= {"foreground", "l1", "giou", "focal", "dice", "auxiliary/0/giou"}
    assert losses["foreground"].item() > 0
    assert all(losses[name].item() == 0 for name in ("l1", "giou", "focal", "dice"))
    sum(losses.values()).backward()
