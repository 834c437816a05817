"""Fusion by a product of Gaussians: each modality says what it knows of the latent, and how sure it is.

Source: Dorent et al., Hetero-Modal Variational Encoder-Decoder for Joint Modality Completion and Segmentation (U-HVED),
MICCAI 2019, Eq. 4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.networks.backbone import ConvOp

LARGEST = 50.0  # of the absolute logarithm of a variance


class Gaussians(NamedTuple):
    """Means and logarithms of variances of each modality, (B, J, C, *spatial) each."""

    mean: torch.Tensor
    log_variance: torch.Tensor


def product(gaussians: Gaussians, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance (B, C, *spatial) of the product of the present Gaussians and a standard normal one::

        1 / v = 1 + sum_j 1 / v_j,    m = v sum_j m_j / v_j

    Args:
        gaussians: in float32 or wider; of absent modalities they are not used.
        present: (B, J) bool.
    """
    is_present = over_voxels(present, gaussians.mean)
    precisions = torch.where(is_present, (-gaussians.log_variance).exp(), 0.0)
    means = torch.where(is_present, gaussians.mean, 0.0)
    variance = 1 / (1 + precisions.sum(1))
    return variance * (precisions * means).sum(1), variance


def bounded(mean: torch.Tensor, log_variance: torch.Tensor) -> Gaussians:
    """Return the Gaussians that moments of any precision stand for, in float32 or wider."""
    wide = torch.promote_types(mean.dtype, torch.float32)
    return Gaussians(mean.to(wide), log_variance.to(wide).clamp(-LARGEST, LARGEST))


class GaussianFused(NamedTuple):
    """What the fusion returns: ``fused`` (B, C, *spatial), and of each modality the ``moments``, for `bounded`."""

    fused: torch.Tensor
    moments: tuple[torch.Tensor, torch.Tensor]


class GaussianProductFusion(nn.Module):
    """Each modality's features become a Gaussian, and the fused features are a sample of their product.

    In evaluation the fused features are the product's mean; the released code takes a sample there too. A pointwise
    convolution of each modality makes mean and variance, in place of the halves of an encoder's channels.

    Args:
        channels: c of a modality's features.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``.
        out_channels: C.
    """

    def __init__(self, channels: int, num_modalities: int, conv_op: ConvOp, out_channels: int) -> None:
        super().__init__()
        self.num_modalities, self.out_channels = num_modalities, out_channels
        self.moments = conv_op(num_modalities * channels, 2 * num_modalities * out_channels, 1, groups=num_modalities)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> GaussianFused:
        """Fuse (B, J, c, *spatial); ``present`` is (B, J) bool on the same device."""
        filled = torch.where(over_voxels(present, values), values, values.nan_to_num())
        moments = self.moments(filled.flatten(1, 2)).unflatten(1, (self.num_modalities, -1))
        if self.training and not torch.compiler.is_compiling():  # keep the moments alone for the backward pass
            fused, variance = checkpoint(_fused, moments, present, use_reentrant=False, preserve_rng_state=False)
        else:
            fused, variance = _fused(moments, present)
        if self.training:
            fused = fused + variance.sqrt() * torch.randn_like(fused)
        mean, log_variance = moments.chunk(2, dim=2)
        return GaussianFused(fused.to(values.dtype), (mean, log_variance))

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return 2 * self.num_modalities * self.out_channels


def _fused(moments: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, log_variance = moments.chunk(2, dim=2)
    return product(bounded(mean, log_variance), present)
