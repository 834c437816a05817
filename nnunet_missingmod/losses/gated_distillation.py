"""Distillation only where the teacher is right, and better than the student.

Source: Chen et al., Learning With Privileged Multimodal Knowledge for Unimodal Segmentation (PMKL), TMI 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.posteriors import Head, class_index, log_posterior, voxel_weights, zero_uncounted
from nnunet_missingmod.losses.reduction import autocast_off, weighted_mean
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def gated_distillation_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    head: Head,
    temperature: float,
    counts: Tensor | None = None,
) -> Tensor:
    """Return the student's cross-entropy with the teacher's softened posteriors, weighed by how much better those are::

        m = relu(CE(y, s) - CE(y, t)) [argmax t = y],    L = sum_v m CE(t / T, s / T) / sum_v m

    with CE(t / T, s / T) = -sum_c softmax(t / T)_c log softmax(s / T)_c, and no gradient through m. Regions have m and
    cross-entropy each. The loss is not scaled by the temperature's square, as in the released code.

    Args:
        logits, teacher_logits: (B, K, *spatial); the teacher's get no gradient.
        target: as nnU-Net's loss takes it; ignored voxels do not count.
        head: the meaning of the logits.
        temperature: T.
        counts: (B,) bool, the samples that the teacher teaches; by default all.

    Returns:
        A scalar; a zero that keeps the graph if the teacher is nowhere both right and better.
    """
    labels, valid = head.labels(target)
    with autocast_off(logits):
        weights = voxel_weights(logits, valid, counts)
        taught = zero_uncounted(teacher_logits.detach(), weights)
        index = class_index(labels, logits, head.kind, weights).unsqueeze(1)
        student, teacher = (log_posterior(each, head.kind) for each in (logits, taught))
        better = (teacher.gather(1, index) - student.detach().gather(1, index)).clamp(min=0)
        gate = torch.where(teacher.argmax(1, keepdim=True) == index, better, 0.0).squeeze(1)
        softened = log_posterior(taught, head.kind, temperature).exp()
        entropy = -(softened * log_posterior(logits, head.kind, temperature)).sum(1)
        if head.kind == "softmax":
            gate, entropy = gate.unsqueeze(1), entropy.unsqueeze(1)  # (B, 1, *spatial); of regions (B, R, *spatial)
        if weights is not None:
            gate = torch.where(weights > 0, gate, 0.0)
        return weighted_mean(entropy, gate)


class GatedDistillationTerm(nn.Module, StepTerm):
    """`gated_distillation_loss` from the teacher's logits.

    Args:
        temperature: T.
    """

    uses_teacher_logits = True

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> GatedDistillationTerm:
        """Return the term with the temperature that is chosen."""
        return cls(choices["gated_distillation_temperature"])

    def of_step(self, step: Step) -> Tensor:
        """Return the loss of the samples that the teacher teaches."""
        assert step.teacher is not None
        assert step.teacher.logits is not None
        return gated_distillation_loss(
            step.logits,
            step.teacher.logits,
            step.target,
            head=step.head,
            temperature=self.temperature,
            counts=step.teacher.counts,
        )
