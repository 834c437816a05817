"""Sharing what is affine changes nothing but rounding."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunet_missingmod.inference import shared_decoding
from nnunet_missingmod.inference.shared_decoding import can_share, decode_subsets, subsets_per_batch
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.bottleneck import build_bottleneck
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork


def make_backbone(kind, dims, channels, widths, convs_per_stage, nonlin_first):
    conv_op, norm_op = {2: (nn.Conv2d, nn.InstanceNorm2d), 3: (nn.Conv3d, nn.InstanceNorm3d)}[dims]
    more = {"nonlin_first": nonlin_first} if kind is PlainConvUNet else {}
    return kind(
        channels,
        3,
        widths,
        conv_op,
        3,
        (1, 2, 2),
        (1, 1, 1),
        2,
        (convs_per_stage,) * 2,
        conv_bias=True,
        norm_op=norm_op,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
        **more,
    )


def build(
    kind=PlainConvUNet, dims=3, *, fused_at="features", fusion="mean", convs_per_stage=2, nonlin_first=False,
    widths=(4, 6, 8), slim=False, conditioned=False, bottleneck="none",
):  # fmt: skip
    torch.manual_seed(0)
    conv_op = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    channels = 1 if slim else 3
    backbone = make_backbone(kind, dims, channels, widths, convs_per_stage, nonlin_first)
    encoder = ChannelEncoder(3, "none" if slim else "shared", conv_op=conv_op)
    if fused_at == "logits":
        return ParallelNetwork(encoder, backbone).double().eval()
    narrow = [width // 3 for width in widths]
    branches = [make_backbone(kind, dims, 1, narrow, convs_per_stage, nonlin_first) for _ in range(3 if slim else 0)]
    attention = None
    if bottleneck != "none":
        attention = build_bottleneck(bottleneck, (narrow if slim else widths)[-1], 3, [2] * dims)
    network = ModalityEncoderNetwork(
        encoder, backbone, encoders="slim" if slim else "shared", branches=branches, feature_fusion=fusion,
        bottleneck=attention, presence_conditioning=conditioned,
    )  # fmt: skip
    if conditioned:  # as after a training
        for name, parameter in network.named_parameters():
            if "absent_" in name:
                nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def check(network, dims, available=(0, 1, 2), *, dtype=torch.float64, **tolerance):
    x = torch.randn(1, 3, *[8] * dims, dtype=dtype)
    x[:, [channel for channel in range(3) if channel not in available]] = torch.nan
    subsets = [subset for subset in all_subsets(3) if set(subset) <= set(available)]
    kept = torch.tensor([[channel in subset for channel in range(3)] for subset in subsets])
    with torch.no_grad():
        separately = network.encode(x)
        before = [level.clone() for level in separately.levels]
        decoded = list(decode_subsets(network, separately, kept))
        for subset, ours in zip(subsets, decoded, strict=True):
            marked = x.clone()
            marked[:, [c for c in range(3) if c not in subset]] = torch.nan
            torch.testing.assert_close(ours, network(marked), **(tolerance or {"rtol": 1e-10, "atol": 1e-11}))
    for level, was in zip(separately.levels, before, strict=True):
        assert torch.equal(level, was)
    assert decoded[0].std() > 0.01
    assert not torch.allclose(decoded[0], decoded[1])


@pytest.mark.parametrize("batch_voxels", [1, 1100, 64**3])
@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
@pytest.mark.parametrize(("dims", "convs", "nonlin_first"), [(2, 1, False), (3, 2, False), (3, 3, True)])
def test_each_subset_is_decoded_as_by_the_network_itself(kind, dims, convs, nonlin_first, batch_voxels, monkeypatch):
    monkeypatch.setattr(shared_decoding, "_BATCH_VOXELS", batch_voxels)
    check(build(kind, dims, convs_per_stage=convs, nonlin_first=nonlin_first), dims)


@pytest.mark.parametrize("batch_voxels", [1, 1100])
@pytest.mark.parametrize("bottleneck", ["none", "tokens", "reconstruction"])
@pytest.mark.parametrize("conditioned", [True, False])
@pytest.mark.parametrize("fusion", ["mean", "concatenate"])
def test_slim_encoders_bottlenecks_and_conditioned_norms_are_shared_too(
    fusion, conditioned, bottleneck, batch_voxels, monkeypatch
):
    monkeypatch.setattr(shared_decoding, "_BATCH_VOXELS", batch_voxels)
    network = build(widths=(6, 6, 12), slim=fusion == "concatenate", fusion=fusion, conditioned=conditioned,
                    bottleneck=bottleneck)  # fmt: skip
    assert can_share(network)
    check(network, 3)
    check(network, 3, available=(1, 2))


@pytest.mark.parametrize("fusion", ["mean", "concatenate"])
def test_convolutions_of_single_maps_share_in_single_precision(fusion, monkeypatch):
    monkeypatch.setattr(shared_decoding, "_BATCH_VOXELS", 1)
    calls, convolve = [], torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *given: calls.append(1) or convolve(*given))
    network = build(widths=(6, 6, 12), slim=fusion == "concatenate", fusion=fusion).float()
    check(network, 3, dtype=torch.float32, rtol=1e-4, atol=1e-4)
    assert calls


def test_a_batch_holds_as_many_subsets_as_have_the_voxels_of_one_patch_of_64():
    assert subsets_per_batch((64, 64, 64)) == 1
    assert subsets_per_batch((128, 128, 128)) == 1
    assert subsets_per_batch((32, 32, 32)) == 8
    assert subsets_per_batch((256, 256)) == 4


def test_other_fusions_are_not_shared():
    assert can_share(build())
    assert not can_share(build(fused_at="logits"))
    assert not can_share(build(fusion="attention"))
    assert not can_share(build(fusion="concatenate"))  # of full widths, which a further convolution reduces
    assert not can_share(nn.Conv3d(1, 1, 1))


def test_another_decoder_is_not_shared():
    network = build()
    network.decoder.__class__ = type("AnotherDecoder", (type(network.decoder),), {})
    assert not can_share(network)
