"""The network of Robust Divergence Learning's released code, as a backbone that plans can name.

Inside `ParallelNetwork`, with its normalisation per modality, four modalities and three regions it has the published
3,245,235 parameters. ``planning.reference_planner`` writes the plans.

Source: Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation, after Wang et al., Gradient-Guided
Modality Decoupling for Missing-Modality Robustness (AAAI 2024), whose network it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.networks.backbone import ConvOp, count_outputs

_POOL = {4: functional.max_pool2d, 5: functional.max_pool3d}  # by the number of axes of a batch
_INTERPOLATION = {4: "bilinear", 5: "trilinear"}


class ReferenceUNet(nn.Module):
    """A U-Net with two (convolution, group normalisation, ReLU) a level, max pooling, and linear interpolation upwards.

    Args:
        input_channels: of the images.
        num_classes: classes or regions.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``.
        features_per_stage: the width of each level, full resolution first; published are 16, 32, 64, 128, 128.
        num_groups: of the normalisation; published are 8.
        deep_supervision: must be off.
        strides, kernel_sizes, n_stages: what nnU-Net reads from the plans; the network has no others than these plans'.

    Raises:
        ValueError: deep supervision is on.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        conv_op: ConvOp,
        features_per_stage: Sequence[int],
        num_groups: int = 8,
        deep_supervision: bool = False,
        **_for_the_host: Any,
    ) -> None:
        super().__init__()
        if deep_supervision:
            raise ValueError(
                "The reference network has no deep supervision: train with -tr nnUNetTrainerRDLReference, or with "
                'another trainer of methods and "deep_supervision": false in the "missingmod" block of the plans.'
            )
        self.encoder = ReferenceEncoder(input_channels, features_per_stage, conv_op, num_groups)
        self.decoder = ReferenceDecoder(num_classes, features_per_stage, conv_op, num_groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K, *spatial) of images (B, C, *spatial), whose axes are multiples of 2^(levels - 1)."""
        logits: torch.Tensor = self.decoder(self.encoder(x))
        return logits

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs for one sample; nnU-Net's planner estimates memory from it."""
        encoder = self.encoder.compute_conv_feature_map_size(input_size)
        return encoder + self.decoder.compute_conv_feature_map_size(input_size)


class ReferenceEncoder(nn.Module):
    """The way down; returns the levels, full resolution first."""

    def __init__(self, input_channels: int, widths: Sequence[int], conv_op: ConvOp, num_groups: int) -> None:
        super().__init__()
        self.conv_op = conv_op
        self.output_channels = list(widths)
        self.strides = [1] + [2] * (len(widths) - 1)
        inputs = [input_channels, *widths[:-1]]
        self.stages = nn.ModuleList(
            _block(before, width, width, conv_op, num_groups) for before, width in zip(inputs, widths, strict=True)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return per level (B, C_k, *spatial_k)."""
        levels: list[torch.Tensor] = []
        for stage in self.stages:
            levels.append(stage(_POOL[x.ndim](levels[-1], 2) if levels else x))
        return levels

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs for one sample."""
        return sum(
            count_outputs(2 * width, [size // 2**level for size in input_size])
            for level, width in enumerate(self.output_channels)
        )


class ReferenceDecoder(nn.Module):
    """The way up; a level's block has the level's width between its convolutions and the next level's behind them."""

    def __init__(self, num_classes: int, widths: Sequence[int], conv_op: ConvOp, num_groups: int) -> None:
        super().__init__()
        self.deep_supervision = False  # nnU-Net sets it
        self.widths = list(widths)
        self.num_classes = num_classes
        self.stages = nn.ModuleList()
        below = widths[-1]
        for level in reversed(range(len(widths) - 1)):
            after = widths[max(level - 1, 0)]
            self.stages.append(_block(below + widths[level], widths[level], after, conv_op, num_groups))
            below = after
        self.seg_layer = conv_op(below, num_classes, 1)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits (B, K, *spatial)."""
        x = levels[-1]
        for stage, skip in zip(self.stages, reversed(levels[:-1]), strict=True):
            raised = functional.interpolate(x, skip.shape[2:], mode=_INTERPOLATION[x.ndim], align_corners=True)
            x = stage(torch.cat([skip, raised], dim=1))
        logits: torch.Tensor = self.seg_layer(x)
        return logits

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs for one sample."""
        outputs = count_outputs(self.num_classes, input_size)
        for level in range(len(self.widths) - 1):
            width = self.widths[level] + self.widths[max(level - 1, 0)]
            outputs += count_outputs(width, [size // 2**level for size in input_size])
        return outputs


def _block(before: int, middle: int, after: int, conv_op: ConvOp, num_groups: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((before, middle), (middle, after)):
        layers += [conv_op(inputs, outputs, 3, padding=1), nn.GroupNorm(num_groups, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
