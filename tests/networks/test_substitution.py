"""The substituting first stage: whose features are in which slot, and what it takes the place of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.network_choices import BRATS_SUBSTITUTION
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.substitution import SubstitutingEncoder, replace_first_convolution, slot_width

J, W = 3, 2
PRESENT = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
ORDER = [[2, 1], [0, 2], [0, 1]]


def built(order: list[list[int]] | None = None) -> SubstitutingEncoder:
    stage = SubstitutingEncoder(J, width=W, conv_op=nn.Conv2d, order=order).double()
    if stage.shares is not None:
        nn.init.normal_(stage.shares)
    return stage


def images() -> torch.Tensor:
    return torch.randn(3, J, 5, 6, dtype=torch.float64)


def offer(stage: SubstitutingEncoder, image: torch.Tensor, m: int, k: int) -> torch.Tensor:
    """What modality m's image (X, Y) offers for k, by its part of the grouped convolution."""
    rows = slice((m * J + k) * W, (m * J + k + 1) * W)
    return nn.functional.conv2d(image[None, None], stage.conv.weight[rows], stage.conv.bias[rows], padding=1)[0]


@pytest.mark.parametrize("order", [None, ORDER])
@torch.no_grad()
def test_slots_equal_a_loop_over_samples(order: list[list[int]] | None) -> None:
    stage, x = built(order), images()
    slots = stage(x, PRESENT)
    for b in range(3):
        there = [m for m in range(J) if PRESENT[b, m]]
        for k in range(J):
            if k in there:
                expected = offer(stage, x[b, k], k, k)
            elif order is not None:
                first = next(m for m in order[k] if m in there)
                expected = offer(stage, x[b, first], first, k)
            else:
                shares = stage.shares[k, there].softmax(0)
                expected = sum(share * offer(stage, x[b, m], m, k) for share, m in zip(shares, there, strict=True))
            torch.testing.assert_close(slots[b, k], expected, rtol=1e-6, atol=1e-6)


def test_the_order_of_brats_says_who_stands_in_for_every_subset() -> None:
    names = list(BRATS_SUBSTITUTION)
    order = [[names.index(other) for other in BRATS_SUBSTITUTION[name]] for name in names]
    stage = SubstitutingEncoder(4, width=1, conv_op=nn.Conv2d, order=order)
    for subset in all_subsets(4):
        present = torch.zeros(1, 4, dtype=torch.bool)
        present[0, list(subset)] = True
        weights = stage.weights(present)[0]
        for k, name in enumerate(names):
            there = {names[m] for m in subset}
            who = name if name in there else next(other for other in BRATS_SUBSTITUTION[name] if other in there)
            assert weights[:, k].tolist() == [float(other == who) for other in names]


@pytest.mark.parametrize("order", [None, ORDER])
def test_content_of_absent_modalities_changes_nothing_and_gets_no_gradient(order: list[list[int]] | None) -> None:
    stage, x = built(order), images().requires_grad_()
    other = torch.where(PRESENT[..., None, None], x, torch.nan)
    slots = stage(x, PRESENT)
    assert torch.equal(slots, stage(other, PRESENT))
    slots.square().sum().backward()
    assert (x.grad[~PRESENT] == 0).all()
    assert (x.grad[PRESENT] != 0).any()


@pytest.mark.parametrize("order", [None, ORDER])
def test_nothing_present_gives_zeros_and_finite_gradients(order: list[list[int]] | None) -> None:
    stage = built(order)
    slots = stage(images(), torch.zeros_like(PRESENT))
    assert (slots == 0).all()
    slots.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in stage.parameters())


def test_shares_start_equal_and_learn() -> None:
    stage, x = SubstitutingEncoder(J, width=W, conv_op=nn.Conv2d).double(), images()
    weights = stage.weights(PRESENT)
    assert weights[0, :, 1].tolist() == [0.5, 0.0, 0.5]
    stage(x, PRESENT).square().sum().backward()
    assert (stage.shares.grad[1, [0, 2]] != 0).all()


def test_gradient_is_that_of_finite_differences() -> None:
    stage, x = built(), images()[..., :2, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: stage(x, PRESENT), (x,), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("order", [[[1, 2], [0, 2]], [[1, 1], [0, 2], [0, 1]], [[0, 1], [0, 2], [0, 1]]])
def test_an_order_that_is_none_is_refused(order: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="order"):
        built(order)


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("modalities", [2, 3])
def test_it_takes_the_place_of_the_first_convolution(
    backbone: Callable[..., Any], modalities: int, extra: int, kind: str
) -> None:
    inner = backbone(modalities + extra, kind=kind, deep_supervision=True)
    width = slot_width(inner.encoder, modalities)
    assert width == -(-4 // modalities)
    stage = SubstitutingEncoder(modalities, width=width, conv_op=nn.Conv2d)
    replace_first_convolution(inner.encoder, stage, extra)
    network = EarlyFusionNetwork(stage, inner)
    counted = 0

    def count(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.numel()

    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            module.register_forward_hook(count)
    x = torch.randn(1, modalities + extra, 16, 16)
    logits, features = network(x, return_features=True)
    assert network.compute_conv_feature_map_size((16, 16)) == counted
    assert features.offers.shape == (1, modalities, modalities, width, 16, 16)
    sum(output.sum() for output in logits).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    if extra:
        other = x.clone()
        other[:, modalities:] = 0
        assert not torch.equal(network(other)[0], network(x)[0])
