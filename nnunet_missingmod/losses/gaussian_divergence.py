"""What the Gaussians of subsets of modalities are to have in common, and with a standard normal one.

Source: Dorent et al., U-HVED, MICCAI 2019, Eq. 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.losses.term import Setting, Step, StepTerm
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.gaussian_fusion import Gaussians, product


def gaussian_divergence(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(other_mean, other_variance)) of every element, in nats."""
    squared = (mean - other_mean).square()
    return 0.5 * ((other_variance / variance).log() + (variance + squared) / other_variance - 1)


def subset_divergence(gaussians: Gaussians, present: Tensor, encoded: Tensor) -> Tensor:
    """Return the divergences over all subsets S of the modalities that a sample has, n of them::

        L = mean_b [ 1 / (n - 1) sum_S KL(q_P || q_S)  +  1 / n sum_S KL(q_S || N(0, 1)) ]

    with q_S the product of the Gaussians in S (``networks.gaussian_fusion``), P the modalities that were kept, and each
    KL the mean over channels and voxels.

    Args:
        gaussians: (B, J, C, *spatial) each, float32 or wider.
        present: (B, J) bool, P.
        encoded: (B, J) bool, the modalities that the samples have.
    """
    mean, variance = product(gaussians, present)
    between = prior = mean.new_zeros(len(present))
    subsets = all_subsets(present.shape[1])
    counts = torch.zeros_like(between)
    for subset in subsets:
        members = torch.zeros_like(present[0])
        members[list(subset)] = True
        has_all = (encoded | ~members).all(1)
        of_subset, its_variance = product(gaussians, members & encoded)

        def of_samples(divergence: Tensor, has_all: Tensor = has_all) -> Tensor:
            return torch.where(has_all, divergence.flatten(1).mean(1), 0.0)

        between = between + of_samples(gaussian_divergence(mean, variance, of_subset, its_variance))
        standard = torch.zeros_like(of_subset)
        prior = prior + of_samples(gaussian_divergence(of_subset, its_variance, standard, standard + 1))
        counts = counts + has_all
    return (between / (counts - 1).clamp(min=1) + prior / counts.clamp(min=1)).mean()


class GaussianDivergenceTerm(nn.Module, StepTerm):
    """The mean over levels of `subset_divergence`."""

    uses_dropped = True

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> GaussianDivergenceTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the divergences of the step's Gaussians."""
        separately = step.separately
        assert separately is not None
        with autocast_off(step.logits):
            levels = [
                subset_divergence(Gaussians(mean.float(), log_variance.float()), step.present, separately.encoded)
                for mean, log_variance in separately.gaussians
            ]
            return torch.stack(levels).mean()
