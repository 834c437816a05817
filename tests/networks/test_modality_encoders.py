"""Networks of modality encoders against a loop; what runs at prediction, and what is in the checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork

PRESENT = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
CONV = {2: nn.Conv2d, 3: nn.Conv3d}


def build(
    backbone: Callable[..., Any],
    encoders: str = "separate",
    fusion: str = "mean",
    *,
    dimensions: int = 2,
    **options: Any,
) -> ModalityEncoderNetwork:
    channels = ChannelEncoder(3, "none", conv_op=CONV[dimensions])
    slimmer = 3 if encoders == "slim" else 1
    branches = [backbone(2, dimensions=dimensions, slimmer=slimmer, **options) for _ in range(3)]
    inner = backbone(2, dimensions=dimensions, deep_supervision=True, **options)
    return ModalityEncoderNetwork(channels, inner, encoders=encoders, branches=branches, feature_fusion=fusion)


def batch(dimensions: int = 2) -> torch.Tensor:
    x = torch.randn(3, 4, *[8] * dimensions, dtype=torch.float64)
    x[:, :3][~PRESENT] = float("nan")
    return x


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
@torch.no_grad()
def test_separate_encoders_equal_a_loop_over_samples_and_modalities(
    backbone: Callable[..., Any], dimensions: int, kind: str
) -> None:
    network, x = build(backbone, dimensions=dimensions, kind=kind).double(), batch(dimensions)
    logits, features = network(x, return_features=True)
    for b in range(3):
        there = [j for j in range(3) if PRESENT[b, j]]
        levels = [network.encoder.encoders[j](x[b : b + 1, [j, 3]]) for j in there]
        means = [sum(level) / len(there) for level in zip(*levels, strict=True)]
        for level, mean in zip(features.encoder, means, strict=True):
            torch.testing.assert_close(level[b : b + 1], mean)
        for output, expected in zip(logits, network.decoder(means), strict=True):
            torch.testing.assert_close(output[b : b + 1], expected)


@pytest.mark.parametrize("encoders", ["separate", "slim"])
@torch.no_grad()
def test_evaluation_gives_what_training_gives(backbone: Callable[..., Any], encoders: str) -> None:
    network, x = build(backbone, encoders, "concatenate").double(), batch()
    in_training = network(x)
    for ours, expected in zip(network.eval()(x), in_training, strict=True):
        torch.testing.assert_close(ours, expected)


def test_no_encoder_that_never_runs_is_in_the_checkpoint(backbone: Callable[..., Any]) -> None:
    network = build(backbone)
    stock = backbone(2)
    one = sum(parameter.numel() for parameter in stock.encoder.parameters())
    decoder = sum(parameter.numel() for parameter in stock.decoder.parameters()) - one
    assert sum(parameter.numel() for parameter in network.parameters()) == 3 * one + decoder
    names = set(network.state_dict())
    assert {name.split(".")[1] for name in names if name.startswith("backbone")} == {"encoder", "decoder"}
    assert all(name.startswith("backbone.encoder.encoders.") for name in names if ".encoder." in name)


def test_attention_starts_as_the_mean(backbone: Callable[..., Any]) -> None:
    channels, stock = ChannelEncoder(3, "shared", conv_op=nn.Conv2d), backbone(3)
    x = torch.randn(3, 3, 16, 16)
    x[~PRESENT] = float("nan")
    mean = ModalityEncoderNetwork(channels, copy.deepcopy(stock))
    attention = ModalityEncoderNetwork(channels, copy.deepcopy(stock), feature_fusion="attention")
    torch.testing.assert_close(attention(x), mean(x))


def test_conditioning_of_the_decoder_starts_at_nothing_and_knows_the_subset(backbone: Callable[..., Any]) -> None:
    channels, stock = ChannelEncoder(3, "shared", conv_op=nn.Conv2d), backbone(3)
    x = torch.randn(3, 3, 16, 16)
    x[~PRESENT] = float("nan")
    plain = ModalityEncoderNetwork(channels, copy.deepcopy(stock))
    conditioned = ModalityEncoderNetwork(channels, copy.deepcopy(stock), presence_conditioning=True)
    assert torch.equal(conditioned(x), plain(x))
    for name, parameter in conditioned.named_parameters():
        if "absent_" in name:
            nn.init.normal_(parameter)
    changed = (conditioned(x) - plain(x)).abs().flatten(1).amax(1)
    assert (changed > 1e-3).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoders": "nonsense"}, "'nonsense'"),
        ({"feature_fusion": "nonsense"}, "'nonsense'"),
        ({"encoders": "separate"}, "no use for 0 branches"),
    ],
)
def test_wrong_options_are_refused_by_value(
    backbone: Callable[..., Any], options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ModalityEncoderNetwork(ChannelEncoder(2, "none", conv_op=nn.Conv2d), backbone(1), **options)


def test_slim_encoders_are_not_averaged(backbone: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="leaves 2 channels and the decoder expects 4"):
        build(backbone, "slim", "mean")
