"""Mutual information between a student's and a full-modality network's features: variational information distillation.

Cheng et al., "Robust Divergence Learning for Missing-Modality Segmentation", L_MI, after Ahn et al., "Variational
Information Distillation for Knowledge Transfer", CVPR 2019. Lowering the loss raises a lower bound of the information.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_missingmod.losses.reduction import at_least_float32, autocast_like, autocast_off, weighted_mean

SHORT_AXIS = 8  # voxels, up to which every one along an axis counts
_STEP = 2


def draw_lattice(size: Sequence[int], rng: np.random.Generator) -> tuple[slice, ...]:
    """Return a slice per axis of ``size``: every other voxel from the first or second, or a short axis whole."""
    starts = rng.integers(_STEP, size=len(size)).tolist()
    return tuple(
        slice(None) if length <= SHORT_AXIS else slice(start, None, _STEP)
        for length, start in zip(size, starts, strict=True)
    )


def on_lattice(feature: torch.Tensor, lattice: tuple[slice, ...]) -> torch.Tensor:
    """Return the lattice's voxels of a feature (B, C, *spatial), as a view."""
    return feature[(slice(None), slice(None), *lattice)]


_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_INITIAL_VARIANCE = 5.0
_SMALLEST_VARIANCE = 1e-5


def gaussian_information_loss(predicted: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """Return ``log sigma_c + (target - predicted)^2 / (2 sigma_c^2)``, the mean over channels and voxels, per sample.

    The negative log-likelihood of the target under a Gaussian with one variance per channel, less its constant; it may
    be negative. The target is detached.

    Args:
        predicted, target: (B, C, *spatial).
        variance: ``sigma_c^2 > 0``, (C,).

    Returns:
        (B,), float32 or wider.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != target.shape or variance.shape != predicted.shape[1:2]:
        raise ValueError(
            f"Prediction {tuple(predicted.shape)}, target {tuple(target.shape)} and variance "
            f"{tuple(variance.shape)} must be (B, C, *spatial) twice and (C,)."
        )
    with autocast_off(predicted):
        residual = at_least_float32(predicted) - at_least_float32(target.detach())
        squared_error = residual.square().flatten(2).mean(2)  # (B, C): voxels first, the rest is small
        return (variance.log() / 2 + squared_error / (2 * variance)).mean(1)


class VariationalInformationHead(nn.Module):
    """Predicts a teacher's feature from a student's: a Gaussian with mean ``mu(d_m)`` and one variance per channel.

    ``mu`` is three 1x1 convolutions with ReLU between, as wide as the teacher's feature;
    ``sigma_c^2 = softplus(s_c) + 1e-5``, 5 at the start. Both learn: the head belongs into the optimiser and into the
    training checkpoint.

    Args:
        student_channels, teacher_channels: channels of the two features.
        dimensions: 2 or 3.

    Raises:
        ValueError: ``dimensions`` is neither 2 nor 3.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, dimensions: int = 3) -> None:
        super().__init__()
        if dimensions not in _CONVOLUTIONS:
            raise ValueError(f"Features have 2 or 3 spatial dimensions, got {dimensions}.")
        self.channels = (student_channels, teacher_channels)
        convolution = _CONVOLUTIONS[dimensions]
        self.mean = nn.Sequential(
            convolution(student_channels, teacher_channels, kernel_size=1),
            nn.ReLU(inplace=True),
            convolution(teacher_channels, teacher_channels, kernel_size=1),
            nn.ReLU(inplace=True),
            convolution(teacher_channels, teacher_channels, kernel_size=1),
        )
        inverse_softplus = math.log(math.expm1(_INITIAL_VARIANCE - _SMALLEST_VARIANCE))
        self.raw_variance = nn.Parameter(torch.full((teacher_channels,), inverse_softplus))

    def variance(self) -> Tensor:
        """Return ``sigma_c^2``, (C,), above 1e-5."""
        return functional.softplus(self.raw_variance) + _SMALLEST_VARIANCE

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return `gaussian_information_loss` per sample, (B,), of features (B, channels, *spatial).

        Raises:
            ValueError: batch or spatial sizes differ, or a channel count is not the one of the constructor.
        """
        if (student.shape[1], teacher.shape[1]) != self.channels:
            raise ValueError(
                f"Student and teacher features must have {self.channels} channels, "
                f"got {(student.shape[1], teacher.shape[1])}."
            )
        if student.shape[:1] != teacher.shape[:1] or student.shape[2:] != teacher.shape[2:]:
            raise ValueError(
                f"Student and teacher features must agree in batch and spatial size, got "
                f"{tuple(student.shape)} and {tuple(teacher.shape)}: compare levels of equal resolution."
            )
        with autocast_like(student):
            predicted = self.mean(student)
        return gaussian_information_loss(predicted, teacher, self.variance())


class MutualInformationLoss(nn.Module):
    """``L_MI = sum_k gamma_k mean[ log sigma_c + (d_f - mu(d_m))^2 / (2 sigma_c^2) ]`` over K encoder levels.

    ``d_m`` is the student's fused feature of the present modalities, ``d_f`` the full-modality feature (detached). The
    mean is over channels, voxels and the samples that count.

    Args:
        student_channels, teacher_channels: one number a level, shallowest first.
        dimensions: 2 or 3.
        level_weights: ``gamma_k`` up to a factor; they are normalised to sum 1. The paper lets them increase with depth
            and gives no values; the default is proportional to ``2^k``, the bottleneck heaviest.

    Raises:
        ValueError: there is no level, the lists differ in length, a weight is negative, or all are 0.
    """

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        dimensions: int = 3,
        level_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if level_weights is None:
            level_weights = [2.0**level for level in range(len(student_channels))]
        if not len(student_channels) == len(teacher_channels) == len(level_weights) > 0:
            raise ValueError(
                f"Student channels {list(student_channels)}, teacher channels {list(teacher_channels)} and "
                f"level weights {list(level_weights)} must name the same levels, one or more."
            )
        if not all(0 <= weight < math.inf for weight in level_weights) or sum(level_weights) == 0:
            raise ValueError(f"Level weights are non-negative and not all zero, got {list(level_weights)}.")
        self.heads = nn.ModuleList(
            VariationalInformationHead(student, teacher, dimensions=dimensions)
            for student, teacher in zip(student_channels, teacher_channels, strict=True)
        )
        self.level_weights = tuple(weight / sum(level_weights) for weight in level_weights)

    def forward(
        self,
        student_features: Sequence[Tensor],
        teacher_features: Sequence[Tensor],
        *,
        sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, a scalar.

        Args:
            student_features, teacher_features: one (B, channels, *spatial) a level, shallowest first.
            sample_weights: (B,), bool or non-negative weights. Zero leaves a sample out: one that has no teacher, or
                whose subset is the full set when the full feature comes from the same network. If all are left out the
                loss is a zero that keeps every parameter in the graph, as distributed training needs.

        Raises:
            ValueError: the number of levels, a shape or the number of sample weights does not fit.
        """
        if not len(student_features) == len(teacher_features) == len(self.heads):
            raise ValueError(
                f"This loss has {len(self.heads)} levels, got {len(student_features)} student and "
                f"{len(teacher_features)} teacher features."
            )
        if sample_weights is not None:
            if sample_weights.shape != student_features[0].shape[:1]:
                raise ValueError(
                    f"sample_weights must have shape {tuple(student_features[0].shape[:1])}, "
                    f"got {tuple(sample_weights.shape)}."
                )
            # A residual that is NaN would turn its zero gradient into NaN.
            teacher_features = [_blank_uncounted(feature, sample_weights) for feature in teacher_features]
        per_level = [
            gamma * head(student, teacher)
            for gamma, head, student, teacher in zip(
                self.level_weights, self.heads, student_features, teacher_features, strict=True
            )
        ]
        per_sample = torch.stack(per_level).sum(0)  # (B,)
        return per_sample.mean() if sample_weights is None else weighted_mean(per_sample, sample_weights)


def _blank_uncounted(feature: Tensor, sample_weights: Tensor) -> Tensor:
    counted = (sample_weights > 0).view(-1, *[1] * (feature.dim() - 1))
    return torch.where(counted, feature.detach(), 0.0)
