from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.norms import ModalityInstanceNorm
from nnunet_missingmod.networks.parallel import ParallelNetwork

PRESENT = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
CONV = {2: nn.Conv2d, 3: nn.Conv3d}


def randomise_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, ModalityInstanceNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)


def build(encoder: ChannelEncoder, stock: Any, fused_at: str, fusion: str = "mean") -> MultimodalNetwork:
    """Return the parallel network, or the shared encoder whose levels are fused, around a copy of the backbone."""
    stock = copy.deepcopy(stock)
    if fused_at == "logits":
        return ParallelNetwork(encoder, stock)
    return ModalityEncoderNetwork(encoder, stock, feature_fusion=fusion)


def single_backbone(network: MultimodalNetwork, stock: Any, modality: int) -> Any:
    """Return a stock backbone with the shared convolutions and one modality's normalisation."""
    alone = copy.deepcopy(stock)
    weights = {
        key: value[modality] if value.shape != alone.state_dict()[key].shape else value
        for key, value in network.backbone.state_dict().items()  # type: ignore[attr-defined]
    }
    alone.load_state_dict(weights)
    return alone


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("fused_at", ["logits", "features"])
@torch.no_grad()
def test_it_equals_a_loop_over_samples_and_modalities(
    backbone: Callable[..., Any], fused_at: str, dimensions: int, kind: str
) -> None:
    encoder = ChannelEncoder(3, "separate", width=2, conv_op=CONV[dimensions])
    stock = backbone(3, kind=kind, dimensions=dimensions, deep_supervision=True)
    network = build(encoder, stock, fused_at).double()
    stock.double()
    randomise_norms(network)
    x = torch.randn(3, 4, *[8] * dimensions, dtype=torch.float64)
    x[:, :3][~PRESENT] = float("nan")
    logits, features = network(x, return_features=True)
    latents = encoder(x[:, :3], PRESENT)
    backbones = [single_backbone(network, stock, j) for j in range(3)]
    for b in range(3):
        there = [j for j in range(3) if PRESENT[b, j]]
        branch_levels, branch_logits = [], []
        for j in there:
            levels = backbones[j].encoder(torch.cat([latents[b, j], x[b, 3:]])[None])
            branch_levels.append(levels)
            branch_logits.append(backbones[j].decoder(levels))
        mean_levels = [sum(levels) / len(there) for levels in zip(*branch_levels, strict=True)]
        if fused_at == "logits":
            expected = [sum(outputs) / len(there) for outputs in zip(*branch_logits, strict=True)]
        else:
            expected = network.decoder(mean_levels)
        for level, mean_level in zip(features.encoder, mean_levels, strict=True):
            torch.testing.assert_close(level[b : b + 1], mean_level)
        for output, expected_output in zip(logits, expected, strict=True):
            torch.testing.assert_close(output[b : b + 1], expected_output)


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("fused_at", "fusion"), [("logits", "mean"), ("features", "mean"), ("features", "attention")])
def test_one_modality_without_channel_encoder_is_the_plain_backbone_exactly(
    backbone: Callable[..., Any], fused_at: str, fusion: str, dimensions: int, kind: str
) -> None:
    stock = backbone(1, kind=kind, dimensions=dimensions, deep_supervision=True)
    network = build(ChannelEncoder(1, "none", conv_op=CONV[dimensions]), stock, fused_at, fusion)
    x = torch.randn(2, 1, *[8] * dimensions)
    for output, expected in zip(network(x), stock(x), strict=True):
        assert torch.equal(output, expected)


@pytest.mark.parametrize("fused_at", ["logits", "features"])
def test_backbone_runs_for_present_modalities_only(backbone: Callable[..., Any], fused_at: str) -> None:
    network = build(ChannelEncoder(3, "none", conv_op=nn.Conv2d), backbone(1), fused_at)
    rows: list[int] = []
    network.encoder.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    for present in (PRESENT, PRESENT[1:2], PRESENT[2:]):
        x = torch.randn(len(present), 3, 16, 16)
        x[~present] = float("nan")
        network(x)
    assert rows == [6, 1, 3]


def test_modality_that_is_there_in_one_sample_does_not_reach_another(backbone: Callable[..., Any]) -> None:
    network = build(ChannelEncoder(3, "shared", conv_op=nn.Conv2d), backbone(3), "features")
    x = torch.randn(3, 3, 16, 16).masked_fill(~PRESENT[..., None, None], float("nan")).requires_grad_()
    network(x)[0].square().sum().backward()
    assert (x.grad[1:] == 0).all()
    assert (x.grad[0, [0, 2]] != 0).any()
    assert (x.grad[0, 1] == 0).all()


def test_learned_fill_is_refused_because_no_branch_would_see_it(backbone: Callable[..., Any]) -> None:
    encoder = ChannelEncoder(2, "none", conv_op=nn.Conv2d, absent_fill="learned")
    with pytest.raises(ValueError, match="absent_fill 'zero'"):
        ParallelNetwork(encoder, backbone(1))


def test_what_is_expected_is_used_once_and_need_not_be_looked_for(
    backbone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ParallelNetwork(ChannelEncoder(3, "shared", conv_op=nn.Conv2d), backbone(3)).eval()
    x = torch.randn(3, 3, 8, 8)
    x[~PRESENT] = float("nan")
    looked = network(x)
    network.set_present(PRESENT)
    with monkeypatch.context() as patch:
        patch.setattr("nnunet_missingmod.absence.read", lambda batch: pytest.fail("looked"))
        assert torch.equal(network(x), looked)
    assert torch.equal(network(x[:1]), network(x[:1], PRESENT[:1]))
