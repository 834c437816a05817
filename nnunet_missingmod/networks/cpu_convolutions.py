"""Convolutions on a CPU, where torch's own choice is slow: of a single feature map, and of few channels in training.

For one sample whose map has 20,480 rows of voxels or fewer (channels x first axis x second axis), torch 2 leaves oneDNN
for a way of its own, which takes up to sixteen times as long in 3D. A stock U-Net has such maps in its deepest levels
alone; encoders of single modalities and half-wide branches have them nearly everywhere when a case is predicted.
Pointwise convolutions stay torch's: a plain matrix product is faster.

A step of training through a convolution of fewer than 16 channels takes less than half the time if a voxel's channels
lie together in memory, their arrangement included, which wider ones do not gain back. nnU-Net's first level has 32
channels; encoders of single modalities have a few each there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_NARROW = 16  # channels: a vector of the widest instructions


class CPUConv3d(nn.Conv3d):
    """``nn.Conv3d``, faster on a CPU for a single sample in prediction, and for few channels in training.

    The results are the same up to rounding.
    """

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if _is_narrow_in_training(self, input):
            last = input.contiguous(memory_format=torch.channels_last_3d)
            return super()._conv_forward(last, weight, bias).contiguous()
        padding = _padding(self)
        if not torch.is_grad_enabled() and len(input) == 1 and padding is not None and _takes_onednn(self, input):
            convolved: torch.Tensor = torch.mkldnn_convolution(
                input, weight, bias, padding, self.stride, self.dilation, self.groups
            )
            return convolved
        return super()._conv_forward(input, weight, bias)


class CPUConv2d(nn.Conv2d):
    """``nn.Conv2d``, faster on a CPU for few channels in training; the same up to rounding."""

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if _is_narrow_in_training(self, input):
            last = input.contiguous(memory_format=torch.channels_last)
            return super()._conv_forward(last, weight, bias).contiguous()
        return super()._conv_forward(input, weight, bias)


def _padding(conv: nn.Conv3d) -> tuple[int, ...] | None:
    """Return the zeros on either side of each axis; None if others than zeros are added, or more on one side."""
    if conv.padding_mode != "zeros":
        return None
    if not isinstance(conv.padding, str):
        return tuple(conv.padding)
    if conv.padding == "valid":
        return (0,) * len(conv.kernel_size)
    added = [dilation * (size - 1) for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    return None if any(both % 2 for both in added) else tuple(both // 2 for both in added)


def _takes_onednn(conv: nn.Conv2d | nn.Conv3d, x: torch.Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == len(conv.kernel_size) + 2
        and max(conv.kernel_size) > 1
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and torch._C._get_mkldnn_enabled()
    )


def _is_narrow_in_training(conv: nn.Conv2d | nn.Conv3d, x: torch.Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and 1 < conv.in_channels < _NARROW
        and conv.out_channels < _NARROW
        and _takes_onednn(conv, x)
    )


_OURS: dict[type, Any] = {nn.Conv2d: CPUConv2d, nn.Conv3d: CPUConv3d}


def use_cpu_convolutions(module: nn.Module) -> None:
    """Let the convolutions below ``module`` be `CPUConv2d` and `CPUConv3d`; parameters and their names stay."""
    for child in module.modules():
        # nnU-Net's blocks hold a convolution under two names, and it stays one layer.
        child.__class__ = _OURS.get(type(child), type(child))
