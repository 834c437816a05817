"""Two random subsets of the same case are to have the same features.

Source: Liu et al., M3AE: Multimodal Representation Learning for Brain Tumor Segmentation with Missing Modalities, AAAI
2023, section "heterogeneous missing modal situations". In the released code the coarsest outputs are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def subset_consistency_loss(features: Tensor) -> Tensor:
    """Return the mean squared difference of the features of a batch's two halves, which are the same cases::

        L = mean over (b, channels, voxels) of (f_b - f_(b + B))^2

    Both halves get gradients.

    Args:
        features: (2B, C, *grid), case b at b and at b + B.
    """
    one, other = features.chunk(2)
    return (one - other).square().mean()


class SubsetConsistencyTerm(nn.Module, StepTerm):
    """`subset_consistency_loss` of what the decoder got at the bottleneck."""

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> SubsetConsistencyTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the loss."""
        deepest = step.fused[-1]
        with autocast_off(deepest):
            return subset_consistency_loss(deepest.float())
