"""Alignment of the modalities' latents, the output of the channel encoder, to an anchor.

Liu et al., "MedMAP: Promoting Incomplete Multi-modal Brain Tumor Segmentation with Alignment".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.choices import ANCHORS
from nnunet_missingmod.losses.reduction import at_least_float32, autocast_off, weighted_mean
from nnunet_missingmod.losses.term import Setting, Step, StepTerm
from nnunet_missingmod.plans_block import anchor_modality

_SMALLEST_WEIGHT_SUM = 1e-6  # if the present modalities' weights sum to less, the anchor is their unweighted mean
_SMALLEST_VARIANCE = 1e-6  # lower bound of a latent's variance: a constant latent then has a finite log-variance


def anchor_alignment_loss(
    latents: Tensor,
    present: Tensor,
    *,
    anchor: str,
    anchor_channel: int | None = None,
    mixture_weights: Tensor | None = None,
) -> Tensor:
    """Return the mean distance of the present modalities' latents ``z_j`` to an anchor.

    - ``modality`` (Eq. 12): ``mean_j (z_j - z_k)^2``, ``k`` the anchor modality. A sample without ``k`` is left out.
    - ``mixture`` (Eq. 13): ``mean_j (z_j - sum_i w_i z_i)^2``, ``w`` renormalised over the sample's present modalities.
      If their weights sum to less than 1e-6, the anchor is their unweighted mean.
    - ``normal``: ``mean_j KL(N(m, v) : N(0, 1)) = (v + m^2 - 1 - log v) / 2`` with ``m`` and ``v`` the mean and the
      (population) variance of ``z_j`` over the voxels, for each channel; ``v`` is clamped to 1e-6 or more. This is the
      closed form; the formula printed in the paper is garbled.
    - ``none``: 0.

    The paper sums over voxels and channels. Here the distance is a mean over voxels, channels, present modalities (the
    anchor modality included) and the samples that are not left out, so that it does not depend on the patch size. The
    anchor is not detached. An absent modality has no influence and gets a gradient of exactly zero, even if its latent
    is NaN. The encoder's input must not be NaN, however: there a zero gradient times NaN is NaN again.

    Args:
        latents: (B, J, C, *spatial).
        present: bool, (B, J).
        anchor: one of ``ANCHORS``.
        anchor_channel: ``k``, for the ``modality`` anchor.
        mixture_weights: (J,), non-negative, sum 1, for the ``mixture`` anchor.

    Returns:
        A scalar; if all samples are left out, a zero that keeps the graph.

    Raises:
        ValueError: the anchor is unknown, an argument that it needs is missing, or a shape or dtype does not fit.
    """
    _check_anchor(anchor)
    if latents.dim() < 3 or present.shape != latents.shape[:2] or present.dtype != torch.bool:
        raise ValueError(
            f"latents (B, J, C, *spatial) need a bool present (B, J), got {tuple(latents.shape)} and "
            f"{present.dtype} {tuple(present.shape)}."
        )
    if anchor == "none":
        return torch.zeros((), device=latents.device)
    with autocast_off(latents):
        z = at_least_float32(latents).flatten(3)  # (B, J, C, voxels)
        z = torch.where(present[:, :, None, None], z, 0.0)
        has_term = present.any(dim=1)
        if anchor == "normal":
            distance = _kl_to_standard_normal(z)
        else:
            if anchor == "modality":
                target = z[:, _checked_channel(anchor_channel, latents.shape[1])]
                has_term = present[:, anchor_channel]
            else:
                weights = _present_mixture(mixture_weights, present, z.dtype)
                target = torch.einsum("bj,bjcv->bcv", weights, z)
            distance = (z - target.unsqueeze(1)).square().mean(dim=(2, 3))
        counted = present & has_term.unsqueeze(1)  # (B, J)
        per_sample = torch.where(counted, distance, 0.0).sum(1) / present.sum(1).clamp(min=1)
        return weighted_mean(per_sample, has_term)


class AnchorAlignmentLoss(nn.Module):
    """`anchor_alignment_loss` for one anchor, with the learnable weights of the ``mixture`` anchor.

    The weights are ``softmax(initial + offset)``, so they are non-negative and sum to 1. ``offset`` is learnable and
    starts at zero. ``initial`` gives 0.99 to the anchor modality and shares 0.01 equally among the others. The paper
    starts from exact one-hot weights, but there the gradient is zero, of a softmax as of a projection onto the simplex,
    and the weights would never change. Weight decay pulls ``offset`` to zero, that is, the weights to their start and
    not to equal weights.

    Args:
        anchor: one of ``ANCHORS``.
        modality_names: the J names in channel order.
        anchor_modality: the name of ``k``, required for ``modality`` and ``mixture`` and ignored for the others. The
            paper takes the modality whose single-modality model is best overall, FLAIR on BraTS.

    Raises:
        ValueError: the anchor or the anchor modality is unknown.
    """

    initial_log_weights: Tensor

    def __init__(self, anchor: str, modality_names: Sequence[str], *, anchor_modality: str | None = None) -> None:
        super().__init__()
        _check_anchor(anchor)
        self.anchor = anchor
        self.anchor_channel: int | None = None
        if anchor in ("modality", "mixture"):
            if anchor_modality is None or anchor_modality not in modality_names:
                raise ValueError(
                    f"Anchor {anchor!r} needs an anchor_modality among {', '.join(modality_names)}, "
                    f"got {anchor_modality!r}."
                )
            self.anchor_channel = list(modality_names).index(anchor_modality)
        if anchor == "mixture":
            others = max(len(modality_names) - 1, 1)
            initial = torch.full((len(modality_names),), math.log(0.01 / others))
            initial[self.anchor_channel] = math.log(0.99)
            self.register_buffer("initial_log_weights", initial)
            self.log_weight_offsets = nn.Parameter(torch.zeros_like(initial))

    def mixture_weights(self) -> Tensor | None:
        """Return the weights (J,) of the ``mixture`` anchor before renormalisation; None for the other anchors."""
        if self.anchor != "mixture":
            return None
        return torch.softmax(self.initial_log_weights + self.log_weight_offsets, dim=0)

    def forward(self, latents: Tensor, present: Tensor) -> Tensor:
        return anchor_alignment_loss(
            latents,
            present,
            anchor=self.anchor,
            anchor_channel=self.anchor_channel,
            mixture_weights=self.mixture_weights(),
        )

    def extra_repr(self) -> str:
        return f"{self.anchor!r}, anchor_channel={self.anchor_channel}"


class AlignmentTerm(AnchorAlignmentLoss, StepTerm):
    """The alignment of the latents as a loss term: once per step, of the modalities of a sample that are kept.

    Of a network that encodes dropped modalities, too, theirs are not aligned, and a sample that keeps one has no
    distance. With a partner, which sees all modalities, its latents are aligned in the place of the network's.
    """

    once_per_step = True

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> AlignmentTerm:
        """Return the term for the anchor that is chosen."""
        anchor = anchor_modality(choices, setting.modality_names)
        return cls(choices["alignment_anchor"], setting.modality_names, anchor_modality=anchor)

    def of_step(self, step: Step) -> Tensor:
        """Return the mean distance of the latents to the anchor."""
        view = step if step.partner is None else step.partner
        value: Tensor = self(view.latents, view.present)
        return value


def _check_anchor(anchor: str) -> None:
    if anchor not in ANCHORS:
        raise ValueError(f"There is no anchor called {anchor!r}; choose one of {', '.join(ANCHORS)}.")


def _checked_channel(channel: int | None, num_modalities: int) -> int:
    if channel is None or not 0 <= channel < num_modalities:
        raise ValueError(f"The modality anchor needs an anchor_channel of 0..{num_modalities - 1}, got {channel}.")
    return channel


def _present_mixture(weights: Tensor | None, present: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weights (B, J) of each sample: zero for absent modalities, with sum 1 over the present ones."""
    if weights is None or weights.shape != present.shape[1:]:
        given = None if weights is None else tuple(weights.shape)
        raise ValueError(f"The mixture anchor needs mixture_weights of shape {tuple(present.shape[1:])}, got {given}.")
    is_present = present.to(dtype)
    present_weights = weights.to(dtype) * is_present
    total = present_weights.sum(1, keepdim=True)
    vanishing = total < _SMALLEST_WEIGHT_SUM
    equal_weights = is_present / is_present.sum(1, keepdim=True).clamp(min=1)
    return torch.where(vanishing, equal_weights, present_weights / torch.where(vanishing, 1.0, total))


def _kl_to_standard_normal(z: Tensor) -> Tensor:
    """Return the mean over the channels of KL(N(m, v) : N(0, 1)), (B, J), of ``z`` (B, J, C, voxels)."""
    variance, mean = torch.var_mean(z, dim=3, correction=0)
    variance = variance.clamp(min=_SMALLEST_VARIANCE)
    return ((variance + mean.square() - 1 - variance.log()) / 2).mean(2)
