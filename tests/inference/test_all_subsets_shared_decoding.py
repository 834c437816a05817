"""Sharing what is affine changes nothing but rounding."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunet_missingmod.inference import all_subsets as all_subsets_module
from nnunet_missingmod.inference.all_subsets import can_share, decode_subsets, subsets_per_batch
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork


def build(kind=PlainConvUNet, dims=3, *, fused_at="features", fusion="mean", convs_per_stage=2, nonlin_first=False):
    torch.manual_seed(0)
    conv_op, norm_op = {2: (nn.Conv2d, nn.InstanceNorm2d), 3: (nn.Conv3d, nn.InstanceNorm3d)}[dims]
    more = {"nonlin_first": nonlin_first} if kind is PlainConvUNet else {}
    backbone = kind(
        3,
        3,
        (4, 6, 8),
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
    encoder = ChannelEncoder(3, "shared", conv_op=conv_op)
    if fused_at == "logits":
        return ParallelNetwork(encoder, backbone).double().eval()
    return ModalityEncoderNetwork(encoder, backbone, feature_fusion=fusion).double().eval()


@pytest.mark.parametrize("batch_voxels", [1, 1100, 64**3])
@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
@pytest.mark.parametrize(("dims", "convs", "nonlin_first"), [(2, 1, False), (3, 2, False), (3, 3, True)])
def test_each_subset_is_decoded_as_by_the_network_itself(kind, dims, convs, nonlin_first, batch_voxels, monkeypatch):
    monkeypatch.setattr(all_subsets_module, "_BATCH_VOXELS", batch_voxels)
    network = build(kind, dims, convs_per_stage=convs, nonlin_first=nonlin_first)
    x = torch.randn(1, 3, *[8] * dims, dtype=torch.float64)
    subsets = all_subsets(3)
    with torch.no_grad():
        levels = [level[0] for level in network.encode(x).levels]
        before = [level.clone() for level in levels]
        decoded = list(decode_subsets(network.decoder, levels, subsets))
        for subset, ours in zip(subsets, decoded, strict=True):
            marked = x.clone()
            marked[:, [c for c in range(3) if c not in subset]] = torch.nan
            torch.testing.assert_close(ours, network(marked), rtol=1e-10, atol=1e-11)
    for level, was in zip(levels, before, strict=True):
        assert torch.equal(level, was)
    assert decoded[0].std() > 0.01


def test_a_batch_holds_as_many_subsets_as_have_the_voxels_of_one_patch_of_64():
    assert subsets_per_batch((64, 64, 64)) == 1
    assert subsets_per_batch((128, 128, 128)) == 1
    assert subsets_per_batch((32, 32, 32)) == 8
    assert subsets_per_batch((256, 256)) == 4


def test_what_is_not_a_mean_of_features_is_not_shared():
    assert can_share(build())
    assert not can_share(build(fused_at="logits"))
    assert not can_share(build(fusion="attention"))
    assert not can_share(nn.Conv3d(1, 1, 1))


def test_another_decoder_is_not_shared():
    network = build()
    network.decoder.__class__ = type("AnotherDecoder", (type(network.decoder),), {})
    assert not can_share(network)
