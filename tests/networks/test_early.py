from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork

PRESENT = torch.tensor([[True, False], [True, True]])


def batch() -> torch.Tensor:
    x = torch.randn(2, 3, 16, 16)  # two modalities and one extra channel
    x[:, :2][~PRESENT] = float("nan")
    return x


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_without_channel_encoder_it_is_the_backbone_on_zero_filled_input(
    backbone: Callable[..., Any], kind: str
) -> None:
    stock, x = backbone(3, kind=kind), batch()
    network = EarlyFusionNetwork(ChannelEncoder(2, "none", conv_op=nn.Conv2d), stock)
    logits, features = network(x, return_features=True)
    filled = x.nan_to_num(0.0)
    assert torch.equal(logits, stock(filled))
    for level, expected in zip(features.encoder, stock.encoder(filled), strict=True):
        assert torch.equal(level, expected)


def test_latents_of_a_modality_lie_side_by_side_before_the_extra_channels(backbone: Callable[..., Any]) -> None:
    encoder = ChannelEncoder(2, "shared", conv_op=nn.Conv2d)
    stock, x = backbone(5), batch()
    latents = encoder(x[:, :2], PRESENT)
    expected = stock(torch.cat([latents[:, 0], latents[:, 1], x[:, 2:]], dim=1))
    assert torch.equal(EarlyFusionNetwork(encoder, stock)(x), expected)


def test_presence_conditioning_starts_as_the_plain_network_bit_for_bit(backbone: Callable[..., Any]) -> None:
    encoder = ChannelEncoder(2, "shared", conv_op=nn.Conv2d)
    stock, conditioned = backbone(5, kind="residual"), backbone(5, kind="residual")
    conditioned.load_state_dict(stock.state_dict())
    x = batch()
    plain = EarlyFusionNetwork(encoder, stock)
    network = EarlyFusionNetwork(encoder, conditioned, presence_conditioning=True)
    assert torch.equal(network(x), plain(x))
    assert plain.state_dict().keys() < network.state_dict().keys()


def test_presence_conditioning_tells_absent_from_an_image_of_zeros(backbone: Callable[..., Any]) -> None:
    network = EarlyFusionNetwork(ChannelEncoder(2, "none", conv_op=nn.Conv2d), backbone(3), presence_conditioning=True)
    for key, parameter in network.named_parameters():
        if "absent_" in key:
            nn.init.normal_(parameter)
    absent, zero = batch(), batch().nan_to_num(0.0)
    zero[:, 0], zero[:, 2] = absent[:, 0], absent[:, 2]
    assert not torch.allclose(network(absent)[0], network(zero)[0])


def test_conditioning_a_batch_norm_is_refused(backbone: Callable[..., Any]) -> None:
    stock = backbone(2, norm_op=nn.BatchNorm2d, norm_op_kwargs={})
    with pytest.raises(ValueError, match="BatchNorm2d"):
        EarlyFusionNetwork(ChannelEncoder(2, "none", conv_op=nn.Conv2d), stock, presence_conditioning=True)
