"""RDL's reference network: its published size, its parts as a backbone, and what it is around one modality."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.networks.reference_unet import ReferenceUNet

WIDTHS = (16, 32, 64, 128, 128)


def build(inputs=1, classes=3, *, conv_op=nn.Conv3d, widths=WIDTHS):
    return ReferenceUNet(inputs, classes, conv_op=conv_op, features_per_stage=widths)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_with_four_modalities_and_three_regions_it_has_the_published_number_of_parameters():
    network = ParallelNetwork(ChannelEncoder(4, "none"), build())
    assert count(network) == 3_245_235
    assert network.encoder.output_channels == list(WIDTHS)


@pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d])
def test_its_halves_are_a_backbones(conv_op):
    network = build(2, conv_op=conv_op, widths=(8, 16, 16))
    axes = 2 if conv_op is nn.Conv2d else 3
    x = torch.randn(2, 2, *[16] * axes)
    outputs = []
    for layer in network.modules():
        if isinstance(layer, conv_op):
            layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output[0].numel()))
    levels = network.encoder(x)
    assert [tuple(level.shape) for level in levels] == [
        (2, width, *[size] * axes) for width, size in ((8, 16), (16, 8), (16, 4))
    ]
    logits = network.decoder(levels)
    assert logits.shape == (2, 3, *[16] * axes)
    assert network.compute_conv_feature_map_size([16] * axes) == sum(outputs)
    assert torch.equal(network(x), logits)


def test_each_modality_has_the_groups_of_a_group_norm_of_its_own():
    backbone = build(1, widths=(8, 8), conv_op=nn.Conv2d)
    alone = build(1, widths=(8, 8), conv_op=nn.Conv2d)
    alone.load_state_dict(backbone.state_dict())
    network = ParallelNetwork(ChannelEncoder(2, "none", conv_op=nn.Conv2d), backbone).eval()
    x = torch.randn(1, 2, 8, 8)
    for channel in range(2):
        single = x.clone()
        single[:, 1 - channel] = float("nan")
        torch.testing.assert_close(network(single), alone(x[:, channel : channel + 1]))
    with torch.no_grad():
        network.encoder.stages[0][1].bias[1] += 1
    only_first = x.clone()
    only_first[:, 1] = float("nan")
    torch.testing.assert_close(network(only_first), alone(x[:, :1]))
    only_second = x.clone()
    only_second[:, 0] = float("nan")
    assert not torch.allclose(network(only_second), alone(x[:, 1:]))


def test_plans_build_it_and_deep_supervision_is_refused():
    name = "nnunet_missingmod.networks.reference_unet.ReferenceUNet"
    kwargs = {"conv_op": "torch.nn.modules.conv.Conv3d", "features_per_stage": [8, 8], "n_stages": 2}
    assert isinstance(get_network_from_plans(name, kwargs, ["conv_op"], 1, 2, deep_supervision=False), ReferenceUNet)
    with pytest.raises(ValueError, match="no deep supervision: train with -tr nnUNetTrainerRDLReference"):
        get_network_from_plans(name, kwargs, ["conv_op"], 1, 2, deep_supervision=True)
