"""The stack of subsets holds, one after the other, what the network says of each."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from nnunet_missingmod.inference import all_subsets as all_subsets_module
from nnunet_missingmod.inference.all_subsets import SubsetStack
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.backbone import fill_absent_channels, predict_from_subset
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork

KINDS = ("stock", "early", "logits", "features", "attention")


def build(kind, *, extra=0):
    torch.manual_seed(0)
    channels = {"stock": 3, "early": 9}.get(kind, 3) + extra
    backbone = PlainConvUNet(
        channels,
        2,
        (4, 6),
        nn.Conv3d,
        3,
        (1, 2),
        1,
        2,
        1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=False,
    )
    if kind == "stock":
        return fill_absent_channels(backbone).double().eval()
    if kind == "early":
        return EarlyFusionNetwork(ChannelEncoder(3, "shared"), backbone).double().eval()
    encoder = ChannelEncoder(3, "shared")
    if kind == "logits":
        return ParallelNetwork(encoder, backbone).double().eval()
    fusion = "attention" if kind == "attention" else "mean"
    return ModalityEncoderNetwork(encoder, backbone, feature_fusion=fusion).double().eval()


def alone(network, x, subset):
    marked = x.clone()
    marked[:, [c for c in range(3) if c not in subset]] = torch.nan
    return network(marked)


@pytest.mark.parametrize("per_batch", [1, 3, 7])
@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_each_slice_is_the_prediction_of_its_subset(kind, extra, per_batch, monkeypatch):
    monkeypatch.setattr(all_subsets_module, "subsets_per_batch", lambda spatial: per_batch)
    network = build(kind, extra=extra)
    x = torch.randn(1, 3 + extra, 8, 8, 8, dtype=torch.float64)
    stack = SubsetStack(network, 3)
    stack.subsets = all_subsets(3)
    with torch.no_grad():
        stacked = stack(x)
        assert stacked.shape == (1, 14, 8, 8, 8)
        for index, subset in enumerate(all_subsets(3)):
            expected = alone(network, x, subset)
            torch.testing.assert_close(stacked[:, 2 * index : 2 * index + 2], expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_a_modality_that_the_patch_lacks_has_no_say(kind):
    network = build(kind)
    x = torch.randn(1, 3, 8, 8, 8, dtype=torch.float64)
    x[:, 1] = torch.nan
    stack = SubsetStack(network, 3)
    stack.subsets = [(0, 1), (2,), (0, 1, 2)]
    with torch.no_grad():
        stacked = stack(x)
        for index, left in enumerate([(0,), (2,), (0, 2)]):
            expected = alone(network, x, left)
            torch.testing.assert_close(stacked[:, 2 * index : 2 * index + 2], expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_some_modalities_alone_says_the_same_and_refuses_the_same(kind):
    network = predict_from_subset(build(kind), [0, 2], 3)
    x = torch.randn(1, 3, 8, 8, 8, dtype=torch.float64)
    stack = SubsetStack(network, 3)
    stack.subsets = [(0,), (0, 1), (1, 2), (0, 1, 2)]
    with torch.no_grad():
        stacked = stack(x)
        for index, subset in enumerate(stack.subsets):
            expected = alone(network, x, subset)
            torch.testing.assert_close(stacked[:, 2 * index : 2 * index + 2], expected, rtol=1e-10, atol=1e-11)
        stack.subsets = [(0, 1), (1,)]
        with pytest.raises(ValueError, match="trained on channels 0, 2 alone"):
            stack(x)


def test_the_input_is_left_as_it_is():
    x = torch.randn(1, 3, 8, 8, 8, dtype=torch.float64)
    was = x.clone()
    for kind in KINDS:
        stack = SubsetStack(build(kind), 3)
        stack.subsets = all_subsets(3)
        with torch.no_grad():
            stack(x)
        assert torch.equal(x, was)


def test_the_weights_of_a_fold_go_to_the_network():
    first, second = build("logits"), build("logits")
    with torch.no_grad():
        for parameter in second.parameters():
            parameter += 1
    SubsetStack(first, 3).load_state_dict(second.state_dict())
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)
