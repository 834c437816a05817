from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.backbone import fill_absent_channels
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.multimodal import MultimodalNetwork, encoder_features, forward_with_encoder_features
from nnunet_missingmod.networks.parallel import ParallelNetwork

KINDS = {"logits": ParallelNetwork, "features": ModalityEncoderNetwork}


def assert_equal(levels: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(levels) == len(expected) == 3
    assert all(torch.equal(level, other) for level, other in zip(levels, expected, strict=True))


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_stock_backbone_gives_its_skips_and_its_own_logits(backbone: Callable[..., Any], kind: str) -> None:
    network, x = backbone(2, kind=kind), torch.randn(2, 2, 16, 16)
    logits, levels = forward_with_encoder_features(network, x)
    assert torch.equal(logits, network(x))
    assert_equal(levels, network.encoder(x))
    assert_equal(encoder_features(network, x), levels)


def test_stock_backbone_sees_zeros_for_absent_channels(backbone: Callable[..., Any]) -> None:
    network, x = backbone(2), torch.randn(2, 2, 16, 16)
    x[0, 1] = 0
    marked = x.clone()
    marked[0, 1] = float("nan")
    assert_equal(encoder_features(network, marked), network.encoder(x))
    logits, levels = forward_with_encoder_features(fill_absent_channels(network), marked)
    assert torch.equal(logits, network(marked))
    assert_equal(levels, network.encoder(x))


@pytest.mark.parametrize("name", ["early", "logits", "features"])
def test_networks_of_this_package_give_what_their_forward_returns(backbone: Callable[..., Any], name: str) -> None:
    encoder = ChannelEncoder(2, "none", conv_op=nn.Conv2d)
    network: MultimodalNetwork = (
        EarlyFusionNetwork(encoder, backbone(2)) if name == "early" else KINDS[name](encoder, backbone(1))
    )
    x, present = torch.randn(1, 2, 16, 16), torch.tensor([[True, False]])
    expected_logits, features = network(x, present, return_features=True)
    logits, levels = forward_with_encoder_features(network, x, present)
    assert torch.equal(logits, expected_logits)
    assert_equal(levels, features.encoder)
    assert_equal(encoder_features(network, x, present), features.encoder)


def test_network_without_encoder_and_decoder_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Conv2d has no encoder and decoder"):
        encoder_features(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4))


def test_stock_network_cannot_be_told_what_is_present(backbone: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="PlainConvUNet cannot be told"):
        encoder_features(backbone(2), torch.zeros(1, 2, 16, 16), torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize("build", ["early", "conditioned", "logits", "features"])
def test_features_of_our_networks_need_no_decoder(backbone: Callable[..., Any], build: str) -> None:
    encoder = ChannelEncoder(2, "shared", conv_op=nn.Conv2d)
    network: MultimodalNetwork
    if build in ("early", "conditioned"):
        network = EarlyFusionNetwork(encoder, backbone(4), presence_conditioning=build == "conditioned")
    else:
        network = KINDS[build](encoder, backbone(2))
    x = torch.randn(2, 2, 16, 16)
    x[0, 1] = float("nan")
    _, expected = forward_with_encoder_features(network, x)
    network.decoder.register_forward_pre_hook(lambda *_: pytest.fail("the decoder ran"))
    assert_equal(encoder_features(network, x), expected)
