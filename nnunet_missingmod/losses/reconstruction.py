"""What a bottleneck made up for dropped modalities, against what their encoders see.

Source: Missing as Masking (M3FeCon), MICCAI 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def reconstruction_loss(reconstructed: Tensor, features: Tensor, counts: Tensor) -> Tensor:
    """Return the mean squared error over the pairs of sample and modality that count, 0 if none does::

        L = mean over (b, j) that count, channels and voxels of (r_bj - stopgradient(f_bj))^2

    Args:
        reconstructed: r (B, J, c, *grid).
        features: f, of the same shape; they get no gradient.
        counts: (B, J) bool.
    """
    squared = torch.where(over_voxels(counts, features), reconstructed - features.detach(), 0.0).square()
    return squared.sum() / (counts.sum() * features[0, 0].numel()).clamp(min=1)


class ReconstructionTerm(nn.Module, StepTerm):
    """`reconstruction_loss` of the modalities that a case has and the step dropped."""

    uses_dropped = True

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> ReconstructionTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the loss over the step's dropped modalities."""
        separately = step.separately
        assert separately is not None
        assert separately.bottleneck is not None
        with autocast_off(separately.bottleneck):
            return reconstruction_loss(
                separately.bottleneck.float(), separately.levels[-1].float(), separately.encoded & ~step.present
            )
