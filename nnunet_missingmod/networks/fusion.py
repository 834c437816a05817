"""Fusion of a sample's modalities into one tensor, to which absent modalities contribute nothing.

The parallel network fuses its logits or its encoder levels by it. Every fusion returns a single present modality
unchanged, and zeros if no modality is present.
"""

from __future__ import annotations

import torch
from torch import nn

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.choices import FEATURE_FUSIONS
from nnunet_missingmod.networks.backbone import ConvOp


def mean_fusion(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the mean over the present modalities, sum_j present_j * values_j / max(sum_j present_j, 1).

    Args:
        values: (B, J, C, *spatial); the values of absent modalities are not used.
        present: (B, J) bool on the same device.

    Returns:
        (B, C, *spatial).
    """
    return _mean_of_filled(torch.where(over_voxels(present, values), values, 0.0), present)


class MeanFusion(nn.Module):
    """``mean_fusion`` as a module; it has no parameters."""

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, C, *spatial) into (B, C, *spatial)."""
        return mean_fusion(values, present)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return 0


class AttentionFusion(nn.Module):
    """Attention over the present modalities at each voxel, plus a learned comparison of the modalities.

    At each voxel, with the softmax over the present modalities and m the mean of their h_j::

        fused = sum_j softmax_j(score . h_j) h_j  +  sum_j V_j (h_j - m)

    The second sum adds what a weighted mean cannot express: each modality has its own V_j, so it can form differences
    such as T1ce minus T1. It leaves out absent modalities, and is zero if a single modality is present. ``score`` and
    ``V`` start at zero, so this starts as ``mean_fusion``; an initialisation of the whole network afterwards would undo
    that, so initialise the backbone before it is wrapped.

    Args:
        channels: C.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, the same as the backbone's.
    """

    def __init__(self, channels: int, num_modalities: int, conv_op: ConvOp) -> None:
        super().__init__()
        self.num_modalities = num_modalities
        self.channels = channels
        # No bias: it would be the same for all modalities and cancel in the softmax.
        self.score = conv_op(channels, 1, 1, bias=False)
        self.compare = conv_op(num_modalities * channels, channels, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.compare.weight)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, C, *spatial) into (B, C, *spatial); ``present`` is (B, J) bool on the same device."""
        is_present = over_voxels(present, values)
        values = torch.where(is_present, values, 0.0)
        scores = self.score(values.flatten(0, 1)).unflatten(0, present.shape)  # (B, J, 1, *spatial)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        # A finite minimum rather than -inf: a sample without any modality then gets zeros instead of NaN.
        scores = scores.masked_fill(~is_present, torch.finfo(scores.dtype).min)
        attended = (scores.softmax(1).to(values.dtype) * values).sum(1)
        deviation = torch.where(is_present, values - _mean_of_filled(values, present).unsqueeze(1), 0.0)
        return attended + self.compare(deviation.flatten(1, 2)).to(values.dtype)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return self.num_modalities + self.channels


def _mean_of_filled(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the mean over the present modalities of values (B, J, C, *spatial) that are zero for absent ones."""
    total = values.sum(1)
    count = present.sum(1).clamp(min=1).to(values.dtype)
    return total / count.reshape(-1, *[1] * (total.ndim - 1))


def build_fusion(name: str, channels: int, num_modalities: int, conv_op: ConvOp) -> MeanFusion | AttentionFusion:
    """Return the fusion of one encoder level.

    Args:
        name: one of ``choices.FEATURE_FUSIONS``.
        channels: C of the level.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, as the backbone's.

    Raises:
        ValueError: there is no fusion of this name.
    """
    if name == "mean":
        return MeanFusion()
    if name == "attention":
        return AttentionFusion(channels, num_modalities, conv_op)
    raise ValueError(f"feature_fusion must be one of {', '.join(FEATURE_FUSIONS)}, got {name!r}.")
