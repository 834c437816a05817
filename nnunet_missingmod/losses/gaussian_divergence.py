"""What the Gaussians of subsets of modalities are to have in common, and with a standard normal one.

Source: Dorent et al., U-HVED, MICCAI 2019, Eq. 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnunet_missingmod.absence import over_voxels, present_of
from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.losses.term import Setting, Step, StepTerm
from nnunet_missingmod.modalities import MOST_SUBSETS, all_subsets
from nnunet_missingmod.networks.gaussian_fusion import Gaussians, bounded, product


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
    has = over_voxels(encoded, gaussians.mean)
    precisions = torch.where(has, (-gaussians.log_variance).exp(), 0.0)
    weighted = precisions * torch.where(has, gaussians.mean, 0.0)
    between = prior = mean.new_zeros(len(present))
    counts = torch.zeros_like(between)
    num_modalities = present.shape[1]
    for members in present_of(all_subsets(num_modalities), num_modalities).to(present.device, non_blocking=True):
        has_all = (encoded | ~members).all(1)
        # Computed again in the backward pass: of all subsets at once it would not fit into a GPU's memory.
        divergences = checkpoint(
            _of_subset,
            mean,
            variance,
            precisions,
            weighted,
            (members & encoded).to(mean.dtype),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        between = between + torch.where(has_all, divergences[0], 0.0)
        prior = prior + torch.where(has_all, divergences[1], 0.0)
        counts = counts + has_all
    return (between / (counts - 1).clamp(min=1) + prior / counts.clamp(min=1)).mean()


def _of_subset(
    mean: Tensor, variance: Tensor, precisions: Tensor, weighted: Tensor, members: Tensor
) -> tuple[Tensor, Tensor]:
    """Return KL(q_P || q_S) and KL(q_S || N(0, 1)) of each sample, (B,), for ``members`` (B, J), 0 or 1."""
    of_subset = 1 / (1 + torch.einsum("bj,bj...->b...", members, precisions))
    its_mean = of_subset * torch.einsum("bj,bj...->b...", members, weighted)
    standard = torch.zeros_like(its_mean)
    between = gaussian_divergence(mean, variance, its_mean, of_subset)
    prior = gaussian_divergence(its_mean, of_subset, standard, standard + 1)
    return between.flatten(1).mean(1), prior.flatten(1).mean(1)


class GaussianDivergenceTerm(nn.Module, StepTerm):
    """The mean over levels of `subset_divergence`, at the voxels of a lattice."""

    uses_dropped = True

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> GaussianDivergenceTerm:
        """Return the term; it has no settings.

        Raises:
            ValueError: there are too many subsets to compare in each step.
        """
        number = 2 ** len(setting.modality_names) - 1
        if number > MOST_SUBSETS:
            raise ValueError(
                f'"missingmod" block of the plans: feature_fusion "gaussian_product" would compare {number:,} subsets '
                'in each step: set it to "moments", "mean" or "concatenate".'
            )
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the divergences of the step's Gaussians."""
        separately = step.separately
        assert separately is not None
        with autocast_off(step.logits):
            levels = [
                subset_divergence(bounded(mean, log_variance), step.present, separately.encoded)
                for mean, log_variance in separately.gaussians
            ]
            return torch.stack(levels).mean()
