"""What the layer of the logits got, of any network, once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from building import SIZE, build, choices_of
from torch import nn

from nnunet_missingmod.absence import present_of
from nnunet_missingmod.networks.decoded import DecodedFeatures


@pytest.mark.parametrize("deep_supervision", [True, False])
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_the_logits_are_made_of_it(backbone: Callable[..., Any], kind: str, *, deep_supervision: bool) -> None:
    network = backbone(2, kind=kind, deep_supervision=deep_supervision)
    decoded = DecodedFeatures(network)
    logits = network(torch.randn(1, 2, 16, 16))
    logits = logits[0] if deep_supervision else logits
    values = decoded.take()
    assert values.shape == (1, 4, 16, 16)
    assert torch.equal(network.decoder.seg_layers[-1](values), logits)


def test_it_is_of_one_forward_pass_and_taken_once(backbone: Callable[..., Any]) -> None:
    network = backbone(2)
    decoded = DecodedFeatures(network)
    with pytest.raises(RuntimeError, match="has not run"):
        decoded.take()
    network(torch.randn(1, 2, 16, 16))
    copied = copy.deepcopy(network.eval())
    decoded.take()
    copied(torch.randn(1, 2, 16, 16))
    with pytest.raises(RuntimeError, match="has not run"):
        decoded.take()


def test_a_network_without_such_a_decoder_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Conv2d has no decoder"):
        DecodedFeatures(nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize("subsets", [[(0, 1, 2)], [(0,), (1, 2)], [(0, 2), (0, 1, 2), (1,)]])
def test_of_a_network_fused_at_logits_it_is_the_mean_of_the_modalities(subsets: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = build(choices_of("nnUNetTrainerSharedBackbone"), deep_supervision=False).eval()
    decoded = DecodedFeatures(network)
    present = present_of(subsets, 3)
    logits = network(torch.randn(len(subsets), 3, SIZE, SIZE), present)
    values = decoded.take(present)
    assert len(values) == len(subsets)
    torch.testing.assert_close(network.decoder.seg_layers[-1](values), logits)
