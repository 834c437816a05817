"""What a shared encoder is to make alike, and modalities' own encoders to tell apart.

Source: Wang et al., ShaSpec, CVPR 2023, Eq. 2 and 4. In the released code zeros in the place of missing modalities take
part in both; here only modalities that were encoded do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.losses.reduction import autocast_off, weighted_mean
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def shared_distance(features: Tensor, encoded: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring modalities' shared features, of the pairs that are there::

        L = mean over (b, j) with j and j + 1 (the first after the last) encoded, channels, voxels of |h_bj - h_b(j+1)|

    Two modalities have one such pair, which counts twice; one has none.

    Args:
        features: (B, J, c, *grid).
        encoded: (B, J) bool.
    """
    features = torch.where(over_voxels(encoded, features), features, 0.0)
    both = encoded & encoded.roll(-1, 1)
    if encoded.shape[1] == 1:
        both = torch.zeros_like(both)
    return weighted_mean((features - features.roll(-1, 1)).abs(), over_voxels(both, features))


class SharedDistanceTerm(nn.Module, StepTerm):
    """`shared_distance` of the shared encoder's deepest level, dropped modalities included."""

    uses_dropped = True

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> SharedDistanceTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the distance."""
        assert step.separately is not None
        with autocast_off(step.logits):
            return shared_distance(step.separately.levels[-1].float(), step.separately.encoded)


def domain_loss(features: Tensor, encoded: Tensor, classify: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the cross-entropy of naming the modality of what its own encoder made of it::

        L = mean over (b, j) with j encoded of -log softmax(classify(mean_v g_bjv))_j

    Nothing encoded is 0.

    Args:
        features: (B, J, c, *grid); what was not encoded may hold anything.
        encoded: (B, J) bool.
        classify: (B, J, c) to scores (B, J, J).
    """
    features = torch.where(over_voxels(encoded, features), features, 0.0)
    scores = classify(features.flatten(3).mean(3))  # (B, J, J)
    names = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape[:2])
    each = functional.cross_entropy(scores.flatten(0, 1), names.flatten(), reduction="none")
    return weighted_mean(each, encoded.flatten())


class DomainTerm(nn.Module, StepTerm):
    """`domain_loss` of a linear classifier, dropped modalities included.

    Args:
        channels: c.
        num_modalities: J.
    """

    uses_dropped = True

    def __init__(self, channels: int, num_modalities: int) -> None:
        super().__init__()
        self.classify = nn.Linear(channels, num_modalities)

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> DomainTerm:
        """Return the term for the setting's modalities."""
        assert setting.decoder is not None
        return cls(setting.decoder.channels[-1], len(setting.modality_names))

    def of_step(self, step: Step) -> Tensor:
        """Return the loss."""
        separately = step.separately
        assert separately is not None
        assert separately.specific is not None
        with autocast_off(step.logits):
            return domain_loss(separately.specific.float(), separately.encoded, self.classify)
