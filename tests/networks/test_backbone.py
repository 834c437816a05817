from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.backbone import count_outputs, map_logits, unwrapped
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.multimodal import encoder_features, forward_with_encoder_features


def test_logits_are_mapped_with_and_without_deep_supervision() -> None:
    logits = torch.ones(2)
    assert torch.equal(map_logits(torch.neg, logits), -logits)
    mapped = map_logits(torch.neg, [logits, 2 * logits])
    assert isinstance(mapped, list)
    assert [output.tolist() for output in mapped] == [[-1, -1], [-2, -2]]


def test_outputs_are_channels_times_voxels() -> None:
    assert count_outputs(3, (4, 5, 6)) == 3 * 4 * 5 * 6


@pytest.mark.parametrize(
    "wrap",
    [
        torch.compile,
        nn.DataParallel,
        lambda network: torch.compile(nn.DataParallel(network)),
        lambda network: nn.DataParallel(torch.compile(network)),
        lambda network: network,
    ],
)
def test_a_network_is_found_in_whatever_it_is_wrapped(backbone: Callable[..., Any], wrap: Callable[..., Any]) -> None:
    network = backbone(2)
    assert unwrapped(wrap(network)) is network


def test_a_compiled_network_gives_its_features_and_is_known_as_a_multimodal_one(backbone: Callable[..., Any]) -> None:
    network = EarlyFusionNetwork(ChannelEncoder(2, "none", conv_op=nn.Conv2d), backbone(2)).eval()
    compiled = torch.compile(network)
    x = torch.randn(1, 2, 16, 16)
    for ours, plain in zip(encoder_features(compiled, x), encoder_features(network, x), strict=True):
        assert torch.equal(ours, plain)
    assert torch.equal(forward_with_encoder_features(compiled, x)[0], network(x))
