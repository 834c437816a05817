"""Forms of presence conditioning that were tried in the study and are not part of the package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.instancenorm import _InstanceNorm

from nnunet_missingmod.networks.norms import (
    Condition,
    per_sample_instance_norm,
    replace_instance_norms,
    use_presence_norms,
)


class SubsetInstanceNorm(nn.Module):
    """Instance normalisation whose affine parameters are a function of the whole subset of absent modalities.

    With the row a_b of absent modalities (0 or 1) of sample b, and a hidden layer h(a) = relu(a A + c)::

        (scale_b, shift_b) = (h(a_b) - h(0)) V
        weight_b = weight * (1 + scale_b),   bias_b = bias + shift_b

    The package's ``PresenceInstanceNorm`` adds up a contribution of each absent modality; here two that are absent
    together may do something else than each alone. V starts at zero, so the layer starts as the original, and a
    complete sample always uses ``weight`` and ``bias`` alone.

    Args:
        original: an affine instance normalisation; its parameters keep their values and names.
        num_modalities: J.
        present: holds (B, J) bool while the backbone runs.
    """

    HIDDEN = 16

    def __init__(self, original: _InstanceNorm, num_modalities: int, present: Condition) -> None:
        super().__init__()
        self.eps = original.eps
        self.present = present
        self.weight = nn.Parameter(original.weight.detach().clone())  # (C,)
        self.bias = nn.Parameter(original.bias.detach().clone())
        new = self.weight.detach().new_empty
        self.hidden_weight = nn.Parameter(new(num_modalities, self.HIDDEN).normal_(std=num_modalities**-0.5))
        self.hidden_bias = nn.Parameter(new(self.HIDDEN).normal_(std=num_modalities**-0.5))
        self.subset_scale = nn.Parameter(new(self.HIDDEN, self.weight.shape[0]).zero_())
        self.subset_shift = nn.Parameter(torch.zeros_like(self.subset_scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, *spatial)."""
        absent = (~self.present.get()).to(self.weight.dtype)  # (B, J)
        hidden = functional.relu(absent @ self.hidden_weight + self.hidden_bias)  # (B, H)
        changed = hidden - functional.relu(self.hidden_bias)
        weight = self.weight * (1 + changed @ self.subset_scale)  # (B, C)
        bias = self.bias + changed @ self.subset_shift
        return per_sample_instance_norm(x, weight, bias, eps=self.eps)


def _subset(network: nn.Module, num_modalities: int) -> Condition:
    present = Condition()
    replace_instance_norms(network, lambda original: SubsetInstanceNorm(original, num_modalities, present))
    return present


# By name: replaces the instance normalisations of an early network and returns the condition that they read.
PRESENCE_FORMS: dict[str, Callable[[nn.Module, int], Condition]] = {
    "subset": _subset,
    "encoder": lambda network, num_modalities: use_presence_norms(network.encoder, num_modalities),
    # nnU-Net's decoder has the encoder as a submodule.
    "decoder": lambda network, num_modalities: use_presence_norms(network.decoder.stages, num_modalities),
}
