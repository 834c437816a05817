"""Divergence of a student's posteriors from a teacher's posteriors or from the labels, computed from the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.choices import DIVERGENCES
from nnunet_missingmod.losses.divergences import divergence, divergence_to_label
from nnunet_missingmod.losses.posteriors import (
    check_head,
    class_index,
    log_posterior,
    voxel_weights,
    zero_uncounted,
)
from nnunet_missingmod.losses.reduction import autocast_off, weighted_mean
from nnunet_missingmod.losses.term import Setting, Step, StepTerm

# Distillation minimises KL(teacher : student). For a label it is the cross-entropy; the other order would be infinite.
# Every other divergence takes the student first.
_TARGET_FIRST = frozenset({"kullback_leibler"})


def posterior_divergence_loss(
    logits: Tensor,
    *,
    teacher_logits: Tensor | None = None,
    labels: Tensor | None = None,
    kind: str,
    head: str = "softmax",
    temperature: float = 1.0,
    valid: Tensor | None = None,
    sample_weights: Tensor | None = None,
    **parameters: float,
) -> Tensor:
    """Return the mean of ``T^2 D(p:q)`` over the voxels of positive weight, with ``p = posterior(logits / T)``.

    ``p`` is the student's posterior. ``q`` is the teacher's posterior at the same temperature, or the one-hot posterior
    of a label (then ``T = 1``). A posterior is the softmax over the classes, or the Bernoulli pair ``(p, 1 - p)`` of
    each region; the divergences of the regions are averaged. ``D(p:q)`` has the student first, except for
    ``kullback_leibler``, which is ``KL(q:p)``. It is computed in float32 (or float64) log space with autocast off. The
    teacher is detached.

    Args:
        logits: (B, C, *spatial), the student's; C classes or regions.
        teacher_logits: the shape of ``logits``. Voxels of weight 0 may hold anything, NaN included.
        labels: softmax head: class indices, (B, *spatial) or (B, 1, *spatial). Regions head: zeros and ones, the shape
            of ``logits``. Voxels of positive weight hold classes 0..C-1; others may hold anything, such as the ignore
            label.
        kind: one of ``choices.DIVERGENCES``; ``parameters`` are the parameters of that divergence.
        head: ``"softmax"`` or ``"regions"``.
        temperature: ``T > 0``.
        valid: (B, *spatial) or (B, 1, *spatial), bool or non-negative weights: false for voxels with the ignore label.
        sample_weights: (B,), bool or non-negative weights: zero for a sample without a teacher.

    Returns:
        A scalar; if every weight is 0, a zero that keeps the graph.

    Raises:
        ValueError: not exactly one of ``teacher_logits`` and ``labels`` is given, a shape does not fit, a name is
            unknown, the temperature is not positive, or it is not 1 with labels.
    """
    check_head(head, temperature)
    weights = voxel_weights(logits, valid, sample_weights)
    if (teacher_logits is None) == (labels is None):
        raise ValueError("Pass exactly one of teacher_logits and labels.")
    with autocast_off(logits):
        log_p = log_posterior(logits, head, temperature)
        if teacher_logits is not None:
            if teacher_logits.shape != logits.shape:
                raise ValueError(
                    f"Student and teacher logits must have one shape, got {tuple(logits.shape)} and "
                    f"{tuple(teacher_logits.shape)}."
                )
            log_q = log_posterior(zero_uncounted(teacher_logits.detach(), weights), head, temperature)
            first, second = (log_q, log_p) if kind in _TARGET_FIRST else (log_p, log_q)
            per_voxel = temperature**2 * divergence(kind, first, second, dim=1, **parameters)
        elif labels is not None:
            if temperature != 1:
                raise ValueError(f"The temperature softens a teacher; for labels it must be 1, got {temperature}.")
            index = class_index(labels, logits, head, weights)
            per_voxel = divergence_to_label(kind, log_p, index, dim=1, **parameters)
        if head == "softmax":
            per_voxel = per_voxel.unsqueeze(1)  # (B, 1, *spatial); of the regions head: (B, R, *spatial)
        return per_voxel.mean() if weights is None else weighted_mean(per_voxel, weights)


class PosteriorDivergenceLoss(nn.Module):
    """`posterior_divergence_loss` for one divergence with its parameters, head and temperature.

    Raises:
        ValueError: an argument is unknown or out of range.
    """

    def __init__(self, kind: str, *, head: str = "softmax", temperature: float = 1.0, **parameters: float) -> None:
        super().__init__()
        check_head(head, temperature)
        uniform = torch.zeros(1, 2)
        divergence(kind, uniform, uniform, dim=1, **parameters)  # refuses an unknown name and exponents out of range
        self.kind = kind
        self.head = head
        self.temperature = temperature
        self.parameters_of_divergence = dict(parameters)

    def forward(
        self,
        logits: Tensor,
        *,
        teacher_logits: Tensor | None = None,
        labels: Tensor | None = None,
        valid: Tensor | None = None,
        sample_weights: Tensor | None = None,
    ) -> Tensor:
        return posterior_divergence_loss(
            logits,
            teacher_logits=teacher_logits,
            labels=labels,
            kind=self.kind,
            head=self.head,
            temperature=self.temperature,
            valid=valid,
            sample_weights=sample_weights,
            **self.parameters_of_divergence,
        )

    def extra_repr(self) -> str:
        choices = {"head": self.head, "temperature": self.temperature, **self.parameters_of_divergence}
        return ", ".join([repr(self.kind), *(f"{name}={value!r}" for name, value in choices.items())])


class DivergenceTerm(PosteriorDivergenceLoss, StepTerm):
    """The divergence as a loss term: of the student's posteriors from the teacher's, or from the labels."""

    target = "teacher"

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> DivergenceTerm:
        """Return the term for the divergence that is chosen, with its exponents."""
        exponents = {name: choices[f"divergence_{name}"] for name in DIVERGENCES[choices["divergence"]]}
        term = cls(
            choices["divergence"],
            head=setting.head.kind,
            temperature=choices["divergence_temperature"],
            **exponents,
        )
        term.target = choices["divergence_target"]
        term.uses_teacher_logits = term.target == "teacher"
        return term

    def of_step(self, step: Step) -> Tensor:
        """Return the mean over the voxels without the ignore label; with a teacher, of the samples that it teaches."""
        labels, valid = step.head.labels(step.target)
        if self.target == "label":
            value: Tensor = self(step.logits, labels=labels, valid=valid)
        else:
            assert step.teacher is not None
            value = self(
                step.logits, teacher_logits=step.teacher.logits, valid=valid, sample_weights=step.teacher.counts
            )
        return value
