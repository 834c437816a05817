"""What a modality offers in the place of another is to say what that one says of itself.

Source: Yang et al., DeMoSeg, BIBM 2024. The term entered its public code with a step that cannot run; before, there was
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def channel_divergence(offers: Tensor, present: Tensor) -> Tensor:
    """Return the divergences between the channels of ordered pairs m != k of present modalities, added up::

        L = 1/B sum_b sum_{m != k in P_b} mean_voxels 1/w sum_c p_c (log p_c - log q_c)

    with p = softmax_c(offer_{k->k}) and q = softmax_c(offer_{m->k}). The sum of pairs is the released code's, so that a
    sample of more modalities counts more, and one of a single modality not at all.

    Args:
        offers: (B, J, J, w, *spatial), at [:, m, k] what m offers for k.
        present: (B, J) bool.
    """
    logs = offers.log_softmax(3)
    own = torch.diagonal(logs, dim1=1, dim2=2).movedim(-1, 1).unsqueeze(1)  # (B, 1, k, w, *spatial)
    each = (own.exp() * (own - logs)).mean(3)  # (B, m, k, *spatial)
    both = (
        present.unsqueeze(2)
        & present.unsqueeze(1)
        & ~torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    )
    # Where, and not times zero: what an absent modality offers may be anything.
    of_pairs = torch.where(both.reshape(*both.shape, *[1] * (each.ndim - 3)), each, 0.0)
    return of_pairs.flatten(3).mean(3).sum((1, 2)).mean()


class ChannelDivergenceTerm(nn.Module, StepTerm):
    """`channel_divergence` of the modalities that the step kept, at the voxels of a lattice."""

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> ChannelDivergenceTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the divergence of the step's offers."""
        assert step.offers is not None
        with autocast_off(step.offers):
            return channel_divergence(step.offers.float(), step.present)
