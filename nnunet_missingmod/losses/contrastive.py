"""Contrast between what student and teacher make of the same case and of different ones.

Source: Chen et al., Learning With Privileged Multimodal Knowledge for Unimodal Segmentation (PMKL), TMI 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_missingmod.losses.reduction import autocast_off, pooled, weighted_mean, zero_left_out_samples
from nnunet_missingmod.losses.term import Setting, Step, StepTerm

_GRID, _HIDDEN, _SIZE = 2, 32, 16
_MARGIN = 1.0
_SMALLEST = 1e-12  # under the root of a squared distance


def contrastive_loss(student: Tensor, teacher: Tensor, counts: Tensor, *, views: int = 1) -> Tensor:
    """Return the mean over all pairs of a student's and a teacher's vector, of the samples that count::

        L = mean_{b, c} of d_bc^2 if both are of one case, else max(1 - d_bc, 0)^2,    d_bc = ||student_b - teacher_c||

    Args:
        student, teacher: (B, size), of unit length.
        counts: (B,) bool.
        views: how many times the batch shows its cases, one time after the other: samples b and b + B / views are one.
    """
    squared = (student.unsqueeze(1) - teacher.unsqueeze(0)).square().sum(2)  # (B, B)
    case = torch.arange(len(counts), device=counts.device) % (len(counts) // views)
    same = case.unsqueeze(1) == case.unsqueeze(0)
    apart = (_MARGIN - (squared + _SMALLEST).sqrt()).clamp(min=0).square()
    return weighted_mean(torch.where(same, squared, apart), counts.unsqueeze(1) & counts.unsqueeze(0))


class ContrastiveTerm(nn.Module, StepTerm):
    """`contrastive_loss` of projections of the decoders' last features, each network with a head of its own.

    Features are averaged to 2 voxels an axis, where the released code averages over 40 of 80 voxels with stride 1 and
    has 35 million parameters in each head. Contrast needs two cases in a batch; several processes contrast their own.

    Args:
        channels: of the features.
        dimensions: 2 or 3.
        views: how many times a batch shows its cases.
    """

    uses_teacher_logits = True
    uses_decoded = True

    def __init__(self, channels: int, dimensions: int, *, views: int = 1) -> None:
        super().__init__()
        self.views = views
        inputs = channels * _GRID**dimensions
        self.of_student, self.of_teacher = (
            nn.Sequential(nn.Linear(inputs, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _SIZE)) for _ in range(2)
        )

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> ContrastiveTerm:
        """Return the term for the channels of the backbone's first level, which the decoder ends with."""
        return cls(setting.encoder_channels[0], setting.dimensions, views=2 if choices["two_subsets"] else 1)

    def of_step(self, step: Step) -> Tensor:
        """Return the loss of the samples that the teacher teaches."""
        assert step.teacher is not None
        assert step.teacher.decoded is not None
        assert step.decoded is not None
        counts = step.teacher.counts
        with autocast_off(step.decoded):
            taught = zero_left_out_samples(step.teacher.decoded, counts)
            grid = (_GRID,) * (step.decoded.ndim - 2)
            averaged = [pooled(each.float(), grid).flatten(1) for each in (step.decoded, taught)]
            student, teacher = (
                functional.normalize(head(each), dim=1)
                for head, each in zip((self.of_student, self.of_teacher), averaged, strict=True)
            )
            return contrastive_loss(student, teacher, counts, views=self.views)
