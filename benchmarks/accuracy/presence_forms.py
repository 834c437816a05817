"""Forms of presence conditioning that were tried in the study and are not part of the package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.instancenorm import _InstanceNorm

from nnunet_missingmod.networks.norms import (
    Condition,
    PresenceInstanceNorm,
    replace_instance_norms,
    use_presence_norms,
)


class SubsetInstanceNorm(PresenceInstanceNorm):
    """Instance normalisation whose affine parameters are a function of the whole subset of absent modalities.

    The package's ``PresenceInstanceNorm`` adds up a contribution of each absent modality; here two that are absent
    together may do something else than each alone. In the place of the row a_b of absent modalities (0 or 1) stands
    what a hidden layer h(a) = relu(a A + c) makes of it, h(a_b) - h(0), which is 0 for a complete sample.
    """

    HIDDEN = 16

    def __init__(self, original: _InstanceNorm, num_modalities: int, present: Condition) -> None:
        super().__init__(original, self.HIDDEN, present)
        new = self.weight.detach().new_empty
        self.hidden_weight = nn.Parameter(new(num_modalities, self.HIDDEN).normal_(std=num_modalities**-0.5))
        self.hidden_bias = nn.Parameter(new(self.HIDDEN).normal_(std=num_modalities**-0.5))

    def absent(self) -> torch.Tensor:
        """Return h(a_b) - h(0), (B, HIDDEN)."""
        hidden = functional.relu(super().absent() @ self.hidden_weight + self.hidden_bias)
        return hidden - functional.relu(self.hidden_bias)


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
