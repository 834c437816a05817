"""RDL's segmentation loss: its formula, what is left out of it, and its gradient."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.losses.pooled_dice import PooledDiceLoss, pooled_dice_loss
from nnunet_missingmod.losses.posteriors import Head


def plain(posterior, truth):
    """The formula, channel by channel."""
    dice = [
        (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        for p, y in zip(posterior.unbind(1), truth.unbind(1), strict=True)
    ]
    return 1 - torch.stack(dice).mean()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_regions_are_the_mean_of_their_pooled_dice():
    logits, truth = torch.randn(2, 3, 4, 5), torch.randint(0, 2, (2, 3, 4, 5)).float()
    loss = pooled_dice_loss(logits, truth, Head("regions"))
    torch.testing.assert_close(loss, plain(logits.sigmoid(), truth))


def test_of_classes_the_background_is_left_out():
    logits, labels = torch.randn(2, 4, 4, 5), torch.randint(0, 4, (2, 1, 4, 5))
    truth = torch.nn.functional.one_hot(labels[:, 0], 4).movedim(-1, 1).float()
    loss = PooledDiceLoss(Head("softmax"))(logits, labels.float())
    torch.testing.assert_close(loss, plain(logits.softmax(1)[:, 1:], truth[:, 1:]))
    perfect = pooled_dice_loss(200 * truth - 100, labels.float(), Head("softmax"))
    torch.testing.assert_close(perfect, torch.zeros(()))


@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_ignored_voxels_have_no_effect_and_no_gradient(kind):
    logits = torch.randn(1, 3, 6, requires_grad=True)
    if kind == "softmax":
        target = torch.tensor([[[0.0, 1, 2, 9, 9, 1]]])
    else:
        target = torch.cat([torch.randint(0, 2, (1, 3, 6)), torch.tensor([[[0, 0, 0, 1, 1, 0]]])], 1).float()
    head = Head(kind, ignore_label=9)
    kept = [0, 1, 2, 5]
    loss = pooled_dice_loss(logits, target, head)
    torch.testing.assert_close(loss, pooled_dice_loss(logits[..., kept], target[..., kept], head))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[..., [3, 4]] == 0).all()
    assert (gradient[..., kept] != 0).any()


@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_the_gradient_is_right(kind):
    logits = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)
    shape = (2, 1, 5) if kind == "softmax" else (2, 2, 5)
    target = torch.randint(0, 2, shape).double()
    assert torch.autograd.gradcheck(lambda values: pooled_dice_loss(values, target, Head(kind)), logits)
