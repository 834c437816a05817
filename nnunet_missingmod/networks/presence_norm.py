"""Normalisation conditioned on presence: lets one backbone act differently for every subset of modalities."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from nnunet_missingmod.networks.instance_norm import Condition, per_sample_instance_norm, replace_instance_norms


class PresenceInstanceNorm(nn.Module):
    """Instance normalisation whose affine parameters are moved by each absent modality.

    With a_j = 1 where modality j is absent, else 0::

        weight_b = weight * (1 + sum_j a_bj * absent_scale_j)
        bias_b   = bias + sum_j a_bj * absent_shift_j

    ``absent_scale`` and ``absent_shift`` (J, C) start at zero: the layer starts as the original, and for a complete
    input it remains one with ``weight`` and ``bias`` alone.

    Args:
        original: an affine instance normalisation, whose parameters and their names are kept.
        num_modalities: J.
        present: holds (B, J) bool while the backbone runs.
    """

    def __init__(self, original: _InstanceNorm, num_modalities: int, present: Condition) -> None:
        super().__init__()
        self.eps = original.eps
        self.present = present
        self.weight = nn.Parameter(original.weight.detach().clone())  # (C,)
        self.bias = nn.Parameter(original.bias.detach().clone())
        self.absent_scale = nn.Parameter(self.weight.detach().new_zeros(num_modalities, self.weight.shape[0]))
        self.absent_shift = nn.Parameter(torch.zeros_like(self.absent_scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, *spatial)."""
        # Product and sum rather than a matrix product, which autocast would take to half precision.
        absent = (~self.present.get()).unsqueeze(2).to(self.weight.dtype)  # (B, J, 1)
        weight = self.weight * (1 + (absent * self.absent_scale).sum(1))  # (B, C)
        bias = self.bias + (absent * self.absent_shift).sum(1)
        return per_sample_instance_norm(x, weight, bias, eps=self.eps)

    def extra_repr(self) -> str:
        """Return the sizes for ``print(network)``."""
        return f"modalities={self.absent_scale.shape[0]}, channels={self.weight.shape[0]}, eps={self.eps}"


def use_presence_norms(module: nn.Module, num_modalities: int) -> Condition:
    """Condition the instance normalisations below ``module`` on presence, and return what tells them of it.

    Raises:
        ValueError: ``module`` normalises in another way.
    """
    present = Condition()
    replace_instance_norms(module, lambda original: PresenceInstanceNorm(original, num_modalities, present))
    return present
