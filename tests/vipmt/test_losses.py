from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import softplus

from fewmask.vipmt.iteration import IterationMaps
from fewmask.vipmt.losses import (
    SegmentedClip,
    auxiliary_loss,
    ccds_loss,
    clip_losses,
    dice_loss,
    iou_labels,
    main_loss,
    soft_iou_losses,
)

C, ITERATIONS = 6, 2


def clip(seed: int, frames: int = 2, exemplars: int = 3) -> SegmentedClip:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    maps = tuple(
        IterationMaps(random(C), random(frames, 3, 4), random(frames, 3, 4), random(exemplars, 3, 4))
        for _ in range(ITERATIONS)
    )
    logits = random(frames, 2, 24, 32)
    result = SimpleNamespace(
        logits=logits,
        initial_logits=random(frames, 2, 24, 32),
        iou_scores=random(frames).sigmoid(),
        query=SimpleNamespace(adjusted=random(frames, C, 3, 4), tokens=random(frames, C, 3, 4)),
        iterations=maps,
        masks=logits[:, 1] > logits[:, 0],
    )
    masks = torch.rand(frames, 24, 32, generator=generator) < 0.4
    return SegmentedClip(result, masks, torch.rand(exemplars, 24, 32, generator=generator) < 0.4)


def test_dice_by_hand():
    logits, masks = clip(0).result.logits, clip(0).masks
    total = 0.0
    for t in range(len(logits)):
        for channel in (0, 1):
            p = logits[t, channel].sigmoid()
            y = (masks[t] == bool(channel)).double()
            total += 1 - 2 * (p * y).sum() / ((p**2).sum() + (y**2).sum())
    torch.testing.assert_close(dice_loss(logits, masks), total / len(logits))


def test_perfect_prediction_costs_nothing_and_the_opposite_most():
    masks = clip(1).masks
    logits = 60.0 * torch.stack((~masks, masks), dim=1).double() - 30
    assert sum(map(float, soft_iou_losses(logits, masks))) < 1e-6
    assert float(dice_loss(logits, masks)) < 1e-6
    assert float(dice_loss(-logits, masks)) > 1.99


def test_main_and_auxiliary_losses_of_a_batch_are_the_mean_of_its_members():
    clips = [clip(0), clip(1), clip(2)]
    for loss in (main_loss, auxiliary_loss):
        torch.testing.assert_close(loss(clips), torch.stack([loss([one]) for one in clips]).mean())


@pytest.mark.parametrize("on", ["adjusted", "merged"])
@pytest.mark.parametrize("form", ["code", "paper"])
def test_ccds_by_hand(form, on):
    clips = [clip(0), clip(1), clip(2)]
    objects = [c.masks[:, ::8, ::8] for c in clips]
    total = torch.zeros((), dtype=torch.float64)
    for b, first in enumerate(clips):
        for j, second in enumerate(clips):
            if b == j:
                continue
            features = second.result.query.adjusted if on == "adjusted" else second.result.query.tokens
            for maps in first.result.iterations:
                logits = torch.einsum("tchw,c->thw", features, maps.clip_prototype)
                alarm = softplus(logits)[objects[j]].sum()  # BCE against an all-zero mask
                total += alarm / objects[j].sum() / 6 if form == "paper" else alarm
    if form == "code":
        total = total / sum(o.sum() for o in objects) / (ITERATIONS * 2)
    torch.testing.assert_close(ccds_loss(clips, form, on), total)


def test_constant_prototypes_satisfy_ccds_as_released_but_not_on_merged_tokens():
    # adjusted features that no prototype finds anything in; merged ones on which one constant finds every object
    clips = [clip(0), clip(1)]
    constant = torch.ones(C, dtype=torch.float64)
    for one in clips:
        one.result.iterations = tuple(
            IterationMaps(constant, m.clip_logits, m.frame_logits, m.exemplar_logits) for m in one.result.iterations
        )
        one.result.query.adjusted = -3 * torch.ones_like(one.result.query.adjusted)
        one.result.query.tokens = 3 * torch.ones_like(one.result.query.tokens)
    assert ccds_loss(clips, "paper", "adjusted") < 1e-6
    assert ccds_loss(clips, "paper", "merged") > 10


def test_ccds_needs_two_clips():
    assert float(ccds_loss([clip(0)])) == 0
    assert float(clip_losses([clip(0), clip(1)], ccds="off").ccds) == 0


def test_iou_label_of_two_empty_masks_is_zero():
    empty = torch.zeros(1, 8, 8, dtype=torch.bool)
    half = empty.clone()
    half[:, :4] = True
    assert iou_labels(torch.cat((empty, half, half)), torch.cat((empty, half, ~half))).tolist() == [0, 1, 0]


def test_total_is_the_plain_sum():
    losses = clip_losses([clip(0), clip(1)])
    assert losses.total == losses.main + losses.auxiliary + losses.ccds + losses.score
