"""Variational information distillation: mutual information of a student's and a full-modality network's features.

The features are encoder levels, at the voxels of a random lattice. Lowering the loss raises a lower bound of the mutual
information.

Source: Cheng et al., "Robust Divergence Learning for Missing-Modality Segmentation", L_MI, after Ahn et al.,
"Variational Information Distillation for Knowledge Transfer", CVPR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_missingmod.losses.reduction import (
    at_least_float32,
    autocast_like,
    autocast_off,
    weighted_mean,
    zero_left_out_samples,
)
from nnunet_missingmod.losses.term import Setting, Step, StepTerm

SHORT_AXIS = 8  # voxels; a lattice has every voxel along an axis of this length or less

_LATTICE_STEP = 2  # voxels
_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_INITIAL_VARIANCE = 5.0
_SMALLEST_VARIANCE = 1e-5


def draw_lattice(size: Sequence[int], rng: np.random.Generator) -> tuple[slice, ...]:
    """Return a random lattice of the voxels of a feature: one slice for each axis of ``size``.

    A slice takes every second voxel, from the first or from the second at random. Along an axis of up to ``SHORT_AXIS``
    voxels it takes all.
    """
    starts = rng.integers(_LATTICE_STEP, size=len(size)).tolist()
    return tuple(
        slice(None) if length <= SHORT_AXIS else slice(start, None, _LATTICE_STEP)
        for length, start in zip(size, starts, strict=True)
    )


def on_lattice(feature: torch.Tensor, lattice: tuple[slice, ...]) -> torch.Tensor:
    """Return the voxels of a feature (B, ..., *spatial) that are on the lattice, as a view."""
    index: tuple[Any, ...] = (..., *lattice)
    return feature[index]


def gaussian_information_loss(predicted: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """Return ``log sigma_c + (target - predicted)^2 / (2 sigma_c^2)``, per sample, averaged over channels and voxels.

    This is the negative log-likelihood of the target under a Gaussian with one variance per channel, without its
    constant. It can be negative. The target is detached.

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
        squared_error = residual.square().flatten(2).mean(2)  # (B, C)
        return (variance.log() / 2 + squared_error / (2 * variance)).mean(1)


class VariationalInformationHead(nn.Module):
    """Predicts a teacher's feature from a student's: a Gaussian with mean ``mu(d_m)`` and one variance per channel.

    ``mu`` is three 1x1 convolutions with ReLUs in between, each with as many channels as the teacher's feature.
    ``sigma_c^2 = softplus(s_c) + 1e-5`` starts at 5. Both are learned, so pass the head's parameters to the optimiser
    and save them in the training checkpoint.

    Args:
        student_channels, teacher_channels: the number of channels of each feature.
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
        """Return `gaussian_information_loss` of features (B, channels, *spatial), per sample: (B,).

        Raises:
            ValueError: batch or spatial sizes differ, or a number of channels is not the constructor's.
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
    mean is over channels, voxels and samples, weighted by ``sample_weights``.

    Args:
        student_channels, teacher_channels: one number for each level, shallowest first.
        dimensions: 2 or 3.
        level_weights: ``gamma_k`` up to a common factor; they are normalised to sum 1. The paper lets them increase
            with depth and gives no values. By default ``gamma_k`` is proportional to ``2^k``, largest at the
            bottleneck.

    Raises:
        ValueError: there is no level, the lists differ in length, a weight is negative, or all weights are 0.
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
            student_features, teacher_features: one (B, channels, *spatial) for each level, shallowest first.
            sample_weights: (B,), bool or non-negative weights; by default all samples have equal weight. Zero leaves a
                sample out: one without a teacher, or one shown with all its modalities if the full-modality feature
                comes from the same network. If all are left out, the loss is a zero that keeps every parameter in the
                graph, as distributed training requires.

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
            # Otherwise NaN in a teacher's feature would turn the zero gradient of a sample that is left out into NaN.
            teacher_features = [zero_left_out_samples(feature, sample_weights) for feature in teacher_features]
        per_level = [
            gamma * head(student, teacher)
            for gamma, head, student, teacher in zip(
                self.level_weights, self.heads, student_features, teacher_features, strict=True
            )
        ]
        per_sample = torch.stack(per_level).sum(0)  # (B,)
        return per_sample.mean() if sample_weights is None else weighted_mean(per_sample, sample_weights)


class MutualInformationTerm(MutualInformationLoss, StepTerm):
    """Mutual information as a loss term: with the teacher's features, or with the network's own of all modalities."""

    source = "teacher"

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> MutualInformationTerm:
        """Return the term for the encoder levels whose weight is above 0.

        Raises:
            ValueError: the number of level weights is not the number of levels.
        """
        weights = level_weights(choices["mutual_information_level_weights"], len(setting.encoder_channels))
        channels = [setting.encoder_channels[level] for level in weights]
        term = cls(channels, channels, dimensions=setting.dimensions, level_weights=list(weights.values()))
        term.levels = tuple(weights)
        term.source = choices["mutual_information"]
        term.needs_own = term.source == "self"
        return term

    def of_step(self, step: Step) -> Tensor:
        """Return the mean over the samples whose full-modality features count (``FullView.counts``)."""
        ours = [step.encoder[level] for level in self.levels]
        if self.source == "partner":
            assert step.partner is not None
            with_partner: Tensor = self(ours, [step.partner.encoder[level].detach() for level in self.levels])
            return with_partner
        full = step.own if self.source == "self" else step.teacher
        assert full is not None
        value: Tensor = self(
            ours,
            [full.encoder[level] for level in self.levels],
            sample_weights=full.counts,
        )
        return value


def level_weights(chosen: str | Sequence[float], num_levels: int) -> dict[int, float]:
    """Return {encoder level: weight} of the levels with a weight above 0; ``"depth"`` gives 2^k to level k.

    ``"deepest"`` gives the last level all.

    Raises:
        ValueError: the number of weights is not the number of levels.
    """
    if chosen == "deepest":
        return {num_levels - 1: 1.0}
    weights = [2.0**level for level in range(num_levels)] if chosen == "depth" else [float(w) for w in chosen]
    if len(weights) != num_levels:
        raise ValueError(
            f'"missingmod" block of the plans: mutual_information_level_weights must name the {num_levels} encoder '
            f"levels of this configuration, got {weights}."
        )
    return {level: weight for level, weight in enumerate(weights) if weight > 0}
