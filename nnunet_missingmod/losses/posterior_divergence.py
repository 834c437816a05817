"""Divergence of a student's posteriors from a teacher's or from the labels: logits in, one scalar out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_missingmod.losses.divergences import divergence, divergence_to_label
from nnunet_missingmod.losses.reduction import at_least_float32, autocast_off, weighted_mean

HEADS = ("softmax", "regions")

# KL(teacher : student) is what distillation minimises; for a label it is the cross-entropy, while the other order is
# infinite. Every other divergence takes the student first.
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
    """Return the mean over the counted voxels of ``T^2 D(p:q)``, ``p = posterior(logits / T)`` the student's.

    ``q`` is the teacher's posterior at the same temperature, or the one-hot posterior of a label (then ``T = 1``). A
    posterior is the softmax over the classes, or the Bernoulli pair ``(p, 1 - p)`` of every region, which are averaged.
    ``D(p:q)`` has the student first, except for ``kullback_leibler``, which is ``KL(q:p)``.
    Computed in float32 (or float64) log space with autocast off. The teacher is detached.

    Args:
        logits: (B, C, *spatial), the student's; C classes or regions.
        teacher_logits: the shape of ``logits``; what it holds where nothing counts is not looked at, not even NaN.
        labels: softmax head: class indices, (B, *spatial) or (B, 1, *spatial). Regions head: zeros and ones, the shape
            of ``logits``. Counted voxels hold classes 0..C-1; others may hold anything, such as the ignore label.
        kind: a name of ``divergences.DIVERGENCE_NAMES``; ``parameters`` are that divergence's.
        head: ``"softmax"`` or ``"regions"``.
        temperature: ``T > 0``.
        valid: (B, *spatial) or (B, 1, *spatial), bool or non-negative weights: false where the ignore label is.
        sample_weights: (B,), bool or non-negative weights: zero for a sample that has no teacher.

    Returns:
        A scalar; if no voxel counts, a zero that keeps the graph.

    Raises:
        ValueError: not exactly one of ``teacher_logits`` and ``labels`` is given, a shape does not fit, a choice is not
            known, the temperature is not positive, or is not 1 for labels.
    """
    _check_choices(head, temperature)
    weights = _voxel_weights(logits, valid, sample_weights)
    if (teacher_logits is None) == (labels is None):
        raise ValueError("Pass exactly one of teacher_logits and labels.")
    with autocast_off(logits):
        log_p = _log_posterior(logits, head, temperature)
        if teacher_logits is not None:
            if teacher_logits.shape != logits.shape:
                raise ValueError(
                    f"Student and teacher logits must have one shape, got {tuple(logits.shape)} and "
                    f"{tuple(teacher_logits.shape)}."
                )
            log_q = _log_posterior(_blank_uncounted(teacher_logits.detach(), weights), head, temperature)
            first, second = (log_q, log_p) if kind in _TARGET_FIRST else (log_p, log_q)
            per_voxel = temperature**2 * divergence(kind, first, second, dim=1, **parameters)
        elif labels is not None:
            if temperature != 1:
                raise ValueError(f"The temperature softens a teacher; for labels it must be 1, got {temperature}.")
            index = _class_index(labels, logits, head, weights)
            per_voxel = divergence_to_label(kind, log_p, index, dim=1, **parameters)
        if head == "softmax":
            per_voxel = per_voxel.unsqueeze(1)  # (B, 1, *spatial); of the regions head: (B, R, *spatial)
        return per_voxel.mean() if weights is None else weighted_mean(per_voxel, weights)


class PosteriorDivergenceLoss(nn.Module):
    """`posterior_divergence_loss` with its choices made: divergence, head, temperature and the divergence's parameters.

    Raises:
        ValueError: a choice is not known or out of range; at construction, not in the first step.
    """

    def __init__(self, kind: str, *, head: str = "softmax", temperature: float = 1.0, **parameters: float) -> None:
        super().__init__()
        _check_choices(head, temperature)
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


def _check_choices(head: str, temperature: float) -> None:
    if head not in HEADS:
        raise ValueError(f"There is no head called {head!r}; choose one of {', '.join(HEADS)}.")
    if not 0 < temperature < math.inf:
        raise ValueError(f"A temperature is above 0, got {temperature}: 1 leaves the posteriors as they are.")


def _log_posterior(logits: Tensor, head: str, temperature: float) -> Tensor:
    """Return log-probabilities with the class axis at 1: (B, C, *spatial), or (B, 2, R, *spatial) for regions."""
    logits = at_least_float32(logits)
    if temperature != 1:
        logits = logits / temperature
    if head == "softmax":
        return torch.log_softmax(logits, dim=1)
    return torch.stack((functional.logsigmoid(logits), functional.logsigmoid(-logits)), dim=1)


def _class_index(labels: Tensor, logits: Tensor, head: str, weights: Tensor | None) -> Tensor:
    """Return the index into the class axis of `_log_posterior`, 0 where nothing counts."""
    if head == "regions":
        if labels.shape != logits.shape:
            raise ValueError(f"Region labels must have shape {tuple(logits.shape)}, got {tuple(labels.shape)}.")
        return 1 - _blank_uncounted(labels, weights).long()  # a voxel inside the region is the first of its pair
    labels = _with_channel_axis(labels, logits, "Labels")
    return _blank_uncounted(labels, weights).squeeze(1).long()


def _blank_uncounted(values: Tensor, weights: Tensor | None) -> Tensor:
    return values if weights is None else torch.where(weights > 0, values, 0)


def _voxel_weights(logits: Tensor, valid: Tensor | None, sample_weights: Tensor | None) -> Tensor | None:
    """Return the weights of the voxels, broadcastable to (B, 1, *spatial), or None if all count alike."""
    weights = None
    if valid is not None:
        weights = at_least_float32(_with_channel_axis(valid, logits, "valid"))
    if sample_weights is not None:
        if sample_weights.shape != logits.shape[:1]:
            raise ValueError(
                f"sample_weights must have shape {tuple(logits.shape[:1])}, got {tuple(sample_weights.shape)}."
            )
        per_sample = at_least_float32(sample_weights).view(-1, *[1] * (logits.dim() - 1))
        weights = per_sample if weights is None else weights * per_sample
    return weights


def _with_channel_axis(values: Tensor, logits: Tensor, name: str) -> Tensor:
    """Return values of shape (B, *spatial) or (B, 1, *spatial) as (B, 1, *spatial)."""
    spatial = logits.shape[2:]
    batch = logits.shape[:1]
    if values.shape == (*batch, *spatial):
        return values.unsqueeze(1)
    if values.shape == (*batch, 1, *spatial):
        return values
    raise ValueError(
        f"{name} must have shape {(*batch, *spatial)}, or that with a channel axis of size 1, "
        f"got {tuple(values.shape)}."
    )
