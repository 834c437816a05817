"""What the layer of the logits got, of any network, once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

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
