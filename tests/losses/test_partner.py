"""Terms of co-training: posteriors, content and style of two networks, with gradients to both."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nnunet_missingmod.losses.partner import (
    ContentTerm,
    PartnerTerm,
    StyleTerm,
    consistency_loss,
    content_loss,
    gram,
    style_loss,
)
from nnunet_missingmod.losses.posteriors import Head


@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_consistency_is_the_sum_over_classes_of_the_posteriors_mean_squared_difference(kind: str) -> None:
    logits, other = torch.randn(2, 2, 3, 4, 5)
    ours, theirs = (each.softmax(1) if kind == "softmax" else each.sigmoid() for each in (logits, other))
    expected = sum((ours[:, c] - theirs[:, c]).square().mean() for c in range(3))
    target = torch.zeros(2, 1 if kind == "softmax" else 3, 4, 5)
    torch.testing.assert_close(consistency_loss(logits, other, target, Head(kind)), expected)


@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_ignored_voxels_are_not_compared(kind: str) -> None:
    logits, other = torch.randn(2, 1, 3, 4, 5)
    ignored = torch.rand(1, 1, 4, 5) > 0.5
    if kind == "softmax":
        target, head = torch.where(ignored, 3, 0), Head(kind, ignore_label=3)
    else:
        target, head = torch.cat([torch.zeros(1, 3, 4, 5), ignored.float()], dim=1), Head(kind, ignore_label=1)
    value = consistency_loss(logits, other, target, head)
    changed = torch.where(ignored, logits + 5, logits)
    torch.testing.assert_close(consistency_loss(changed, other, target, head), value)


@pytest.mark.parametrize(
    "loss", [content_loss, style_loss, lambda a, b: consistency_loss(a, b, a[:, :1], Head("softmax"))]
)
def test_both_networks_get_the_gradient_of_finite_differences(loss) -> None:
    one, other = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (one.requires_grad_(), other.requires_grad_()))
    assert loss(one, one) == 0


def test_style_compares_which_channels_go_together_and_not_where() -> None:
    one, other = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    for b in range(2):
        for c in range(3):
            for d in range(3):
                torch.testing.assert_close(gram(one)[b, c, d], (one[b, c] * one[b, d]).sum() / 60)
    expected = (gram(one) - gram(other)).square().sum((1, 2)).mean() / (4 * 9 * 400)
    torch.testing.assert_close(style_loss(one, other), expected)
    elsewhere = one.flatten(2)[:, :, torch.randperm(20)].reshape(one.shape)
    assert style_loss(one, elsewhere) < 1e-20


def test_style_as_printed_moves_nothing_at_the_widths_of_nnunet() -> None:
    ours, theirs = (torch.randn(1, 320, 4, 4, 4, requires_grad=True) for _ in range(2))
    style, content = 1.67e-4 * style_loss(ours, theirs), 0.333 * content_loss(ours, theirs)
    assert 0 < style < 1e-14
    (of_style,), (of_content,) = (torch.autograd.grad(value, ours) for value in (style, content))
    assert of_style.abs().max() < 1e-12 * of_content.abs().max()


def step(*, fused: list[torch.Tensor], partner: list[torch.Tensor]) -> SimpleNamespace:
    return SimpleNamespace(fused=fused, partner=SimpleNamespace(fused=partner))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_style_is_of_the_three_deepest_levels_and_content_of_the_deepest(dimensions: int) -> None:
    def levels() -> list[torch.Tensor]:
        return [torch.randn(1, channels, *[size] * dimensions) for channels, size in ((2, 16), (3, 8), (4, 4), (5, 2))]

    ours, theirs = levels(), levels()
    term = StyleTerm([3, 4, 5], nn.Conv2d if dimensions == 2 else nn.Conv3d)
    value, content = (
        term.of_step(step(fused=ours, partner=theirs)),
        ContentTerm().of_step(step(fused=ours, partner=theirs)),
    )
    assert value > 0
    first = [ours[0] + 1, *ours[1:]]
    assert torch.equal(term.of_step(step(fused=first, partner=theirs)), value)
    second = [ours[0], ours[1] + 1, *ours[2:]]
    assert not torch.equal(term.of_step(step(fused=second, partner=theirs)), value)
    assert torch.equal(ContentTerm().of_step(step(fused=second, partner=theirs)), content)
    value.backward()
    assert all(parameter.grad is not None for parameter in term.parameters())


def test_the_partner_learns_the_segmentation_at_every_resolution_that_it_puts_out() -> None:
    def supervised(outputs, targets):
        if isinstance(outputs, torch.Tensor):
            return outputs - targets
        return sum(output - target for output, target in zip(outputs, targets, strict=True))

    term, targets = PartnerTerm(supervised), [torch.tensor(1.0), torch.tensor(2.0)]
    of = lambda outputs: SimpleNamespace(  # noqa: E731
        partner=SimpleNamespace(outputs=outputs), targets=targets, target=targets[0]
    )
    assert term.of_step(of([torch.tensor(5.0), torch.tensor(7.0)])) == 9
    assert term.of_step(of(torch.tensor(5.0))) == 4
