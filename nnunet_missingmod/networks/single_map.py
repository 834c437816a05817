"""Convolutions of a single feature map on a CPU, by the library that torch takes for larger ones.

For one sample whose map has 20,480 rows of voxels or fewer (channels x first axis x second axis), torch 2 leaves oneDNN
for a way of its own, which takes up to sixteen times as long in 3D. A stock U-Net has such maps in its deepest levels
alone; encoders of single modalities and half-wide branches have them nearly everywhere when a case is predicted.
Pointwise convolutions stay torch's: a plain matrix product is faster.
"""

from __future__ import annotations

import torch
from torch import nn


class SingleMapConv3d(nn.Conv3d):
    """``nn.Conv3d``, whose prediction of one sample on a CPU is always oneDNN's; the same up to rounding."""

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if (
            not torch.is_grad_enabled()
            and input.device.type == "cpu"
            and input.dtype == torch.float32
            and input.ndim == 5
            and len(input) == 1
            and max(self.kernel_size) > 1
            and not torch.compiler.is_compiling()
            and self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
            and not torch.is_autocast_enabled("cpu")
            and torch._C._get_mkldnn_enabled()
        ):
            convolved: torch.Tensor = torch.mkldnn_convolution(
                input, weight, bias, self.padding, self.stride, self.dilation, self.groups
            )
            return convolved
        return super()._conv_forward(input, weight, bias)


def use_single_map_convolutions(module: nn.Module) -> None:
    """Let the 3D convolutions below ``module`` be `SingleMapConv3d`; parameters and their names stay."""
    for child in module.modules():
        if type(child) is nn.Conv3d:
            # nnU-Net's blocks hold a convolution under two names, and it stays one layer.
            child.__class__ = SingleMapConv3d
