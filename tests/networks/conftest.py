"""Small backbones and inputs for the network tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
FEATURES = [4, 8, 12]


def randomise(module: nn.Module) -> None:
    """Give every parameter a value of its own, so that nothing is 0 or 1 by its initialisation."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def build_backbone(
    input_channels: int,
    *,
    kind: str = "plain",
    dimensions: int = 2,
    deep_supervision: bool = False,
    norm_op: type[nn.Module] | None = None,
    norm_op_kwargs: dict[str, Any] | None = None,
    slimmer: int = 1,
) -> Any:
    """Build a three-level backbone with 3 classes as nnU-Net's plans do, its normalisation not at its initial value."""
    shared: dict[str, Any] = {
        "n_stages": len(FEATURES),
        "features_per_stage": [-(-width // slimmer) for width in FEATURES],
        "conv_op": CONV[dimensions],
        "kernel_sizes": 3,
        "strides": [1, 2, 2],
        "num_classes": 3,
        "n_conv_per_stage_decoder": 1,
        "conv_bias": True,
        "norm_op": norm_op or NORM[dimensions],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True} if norm_op_kwargs is None else norm_op_kwargs,
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": deep_supervision,
    }
    if kind == "plain":
        network = PlainConvUNet(input_channels, n_conv_per_stage=[1, 2, 1], **shared)
    else:
        network = ResidualEncoderUNet(input_channels, n_blocks_per_stage=[1, 2, 1], **shared)
    network.apply(network.initialize)
    randomise(network)
    return network


@pytest.fixture
def backbone() -> Callable[..., Any]:
    """The function that builds backbones."""
    return build_backbone
