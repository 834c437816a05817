"""Fusion: what the modalities of a sample say becomes one tensor, absent ones having no say.

Every fusion here returns a lone present modality unchanged, and zeros where no modality is present.
"""

from __future__ import annotations

import torch
from torch import nn

from nnunet_missingmod.networks.backbone import ConvOp


def _over_voxels(present: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return present.reshape(*present.shape, *[1] * (values.ndim - 2))


def _mean_of_filled(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    total = values.sum(1)
    count = present.sum(1).clamp(min=1).to(values.dtype)
    return total / count.reshape(-1, *[1] * (total.ndim - 1))


def mean_fusion(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the mean of the present modalities, sum_j present_j * values_j / max(sum_j present_j, 1).

    Args:
        values: (B, J, C, *spatial); whatever an absent modality holds is not used.
        present: (B, J) bool on the same device.

    Returns:
        (B, C, *spatial).
    """
    return _mean_of_filled(torch.where(_over_voxels(present, values), values, 0.0), present)


class MeanFusion(nn.Module):
    """``mean_fusion`` as a module; it has no parameters."""

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, C, *spatial) into (B, C, *spatial)."""
        return mean_fusion(values, present)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return 0


class AttentionFusion(nn.Module):
    """Presence-weighted attention per voxel, and a comparison of the modalities with one another.

    With m the mean of the present h_j, everything per voxel and the softmax over the present modalities::

        fused = sum_j softmax_j(score . h_j) h_j  +  sum_j V_j (h_j - m)

    The second sum is what a weighted mean lacks: with V_j of its own for each modality it can form differences such as
    T1ce minus T1. It is zero for a lone modality, and absent ones are not in it. Score and V start at zero, so that
    this starts as ``mean_fusion``; initialise the backbone before it is wrapped, not after.

    Args:
        channels: C.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, as the backbone's.
    """

    def __init__(self, channels: int, num_modalities: int, conv_op: ConvOp) -> None:
        super().__init__()
        self.num_modalities = num_modalities
        self.channels = channels
        # The softmax does not see a bias that all modalities share.
        self.score = conv_op(channels, 1, 1, bias=False)
        self.compare = conv_op(num_modalities * channels, channels, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.compare.weight)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, C, *spatial) into (B, C, *spatial); ``present`` is (B, J) bool on the same device."""
        there = _over_voxels(present, values)
        values = torch.where(there, values, 0.0)
        scores = self.score(values.flatten(0, 1)).unflatten(0, present.shape)  # (B, J, 1, *spatial)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        # A finite floor, not -inf: a sample with nothing present then gets zeros instead of NaN.
        scores = scores.masked_fill(~there, torch.finfo(scores.dtype).min)
        attended = (scores.softmax(1).to(values.dtype) * values).sum(1)
        deviation = torch.where(there, values - _mean_of_filled(values, present).unsqueeze(1), 0.0)
        return attended + self.compare(deviation.flatten(1, 2)).to(values.dtype)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return self.num_modalities + self.channels
