"""Convolutions that depend on what is absent: formula, merged kernel of one sample, names of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from building import SIZE, build, choices_of
from torch import nn

from nnunet_missingmod.networks import presence_convolutions
from nnunet_missingmod.networks.norms import Condition
from nnunet_missingmod.networks.presence_convolutions import use_presence_convolutions

J = 3
PRESENT = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


@pytest.fixture(autouse=True, params=["few channels", "many channels"])
def same(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Any], None]:
    """Layers as sums and as groups of one convolution; returns what compares up to rounding.

    Processors differ in how their convolutions lay out a result, and so in the order in which a norm adds it up.
    """
    if request.param == "many channels":
        monkeypatch.setattr(presence_convolutions, "_CHANNELS_OF_A_GROUP", 1)
    return partial(torch.testing.assert_close, rtol=1e-3, atol=1e-5)


def layer(dimensions: int, stride: int, kernel: Any = 3) -> tuple[nn.Conv2d | nn.Conv3d, Any, Condition]:
    """An original, what took its place with other weights than zero, and its condition."""
    kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
    padding = kernel // 2 if isinstance(kernel, int) else tuple(size // 2 for size in kernel)
    parent = nn.Sequential(kind(2, 4, kernel, stride, padding).double())
    original, condition = copy.deepcopy(parent[0]), Condition()
    use_presence_convolutions(parent, J, condition)
    nn.init.normal_(parent[0].absent_weight)
    return original, parent[0], condition


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("dimensions", "kernel"), [(2, 3), (3, 3), (3, (1, 3, 3)), (2, 5)])
@torch.no_grad()
def test_each_absent_modality_adds_a_pointwise_convolution(dimensions: int, kernel: Any, stride: int) -> None:
    original, changed, condition = layer(dimensions, stride, kernel)
    x = torch.randn(3, 2, *[6] * dimensions, dtype=torch.float64)
    with condition.set(PRESENT):
        y = changed(x)
    every = (slice(None), *[slice(None, None, stride)] * dimensions)
    for b in range(3):
        expected = original(x[b : b + 1])[0]
        for j in range(J):
            if not PRESENT[b, j]:
                expected = expected + torch.einsum("oi,i...->o...", changed.absent_weight[j], x[b][every])
        torch.testing.assert_close(y[b], expected)
        with condition.set(PRESENT[b : b + 1]):
            torch.testing.assert_close(changed(x[b : b + 1])[0], expected)


def test_a_complete_sample_uses_the_original_alone() -> None:
    original, changed, condition = layer(2, 1)
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    with condition.set(PRESENT):
        torch.testing.assert_close(changed(x)[2], original(x)[2])


def test_what_is_known_to_change_nothing_is_left_out_bit_for_bit() -> None:
    original, changed, condition = layer(2, 1)
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    with condition.set(torch.ones(3, J, dtype=torch.bool)):
        computed = changed(x)
    with condition.set(PRESENT, changes_nothing=True):
        assert torch.equal(changed(x), original(x))
        assert torch.equal(changed(x), computed)
    with condition.set(PRESENT):
        assert not torch.equal(changed(x), computed)


def test_gradient_is_that_of_finite_differences() -> None:
    _, changed, condition = layer(2, 2)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    for samples in (1, 2):
        with condition.set(PRESENT[:samples]):
            assert torch.autograd.gradcheck(changed, (x[:samples],))


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_backbone_keeps_its_weights_their_names_and_its_output(
    backbone: Callable[..., Any], kind: str, same: Callable[[Any, Any], None]
) -> None:
    stock = backbone(2, kind=kind)
    changed, condition = copy.deepcopy(stock), Condition()
    use_presence_convolutions(changed, J, condition)
    before, after = stock.state_dict(), changed.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    new = set(after) - set(before)
    assert new
    assert all(name.endswith("absent_weight") for name in new)
    # nnU-Net lists a layer under two names, and the decoder lists the encoder.
    changes = [module for module in changed.modules() if hasattr(module, "absent_weight")]
    of_more = [m for m in stock.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    assert len(changes) == len(of_more)
    x = torch.randn(2, 2, 16, 16)
    with condition.set(PRESENT[:2]):
        same(changed(x), stock(x))
    assert changed.compute_conv_feature_map_size((16, 16)) == stock.compute_conv_feature_map_size((16, 16))


@pytest.mark.parametrize("complete", [True, False])
@torch.no_grad()
def test_a_network_that_is_told_of_a_complete_batch_returns_the_same(
    complete: bool, same: Callable[[Any, Any], None]
) -> None:
    network = build(choices_of("nnUNetTrainerHolderMISelf")).eval()
    for name, weight in network.named_parameters():
        if "absent" in name:
            nn.init.normal_(weight, std=0.1)
    x, present = torch.randn(2, J, SIZE, SIZE), torch.ones(2, J, dtype=torch.bool)
    if not complete:
        x[0, 1], present[0, 1] = torch.nan, False
    asked = []
    condition = network.condition
    held = condition.set
    condition.set = lambda value, **more: asked.append(more["changes_nothing"]) or held(value, **more)
    for found, told in zip(network(x), network(x, present), strict=True):
        same(found, told)
    for found, told in zip(network.encoder_features(x), network.encoder_features(x, present), strict=True):
        same(found, told)
    assert asked == [False, complete, False, complete]
