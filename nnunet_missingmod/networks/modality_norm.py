"""Per-modality normalisation: all that modalities do not share in the parallel network.

Convolutions are the same for every modality; each modality has affine parameters of its own in every normalisation
layer.

Source: Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation (dynamic sharing).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from nnunet_missingmod.networks.instance_norm import Condition, per_sample_instance_norm, replace_instance_norms


class ModalityInstanceNorm(nn.Module):
    """Instance normalisation with J sets of affine parameters; row n of the batch uses those of its own modality.

    ``weight`` and ``bias`` are (J, C): one parameter each rather than J, so that all take part in every step, and the
    rows of modalities that are not in the batch get a gradient of exactly zero.

    Args:
        original: an affine instance normalisation, whose parameters every modality starts with.
        num_modalities: J.
        modality: holds (N,) int64, the modality of each row of the batch, while the backbone runs.
    """

    def __init__(self, original: _InstanceNorm, num_modalities: int, modality: Condition) -> None:
        super().__init__()
        self.eps = original.eps
        self.modality = modality
        self.weight = nn.Parameter(original.weight.detach().repeat(num_modalities, 1))  # (J, C)
        self.bias = nn.Parameter(original.bias.detach().repeat(num_modalities, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, *spatial)."""
        index = self.modality.get()
        return per_sample_instance_norm(
            x, self.weight.index_select(0, index), self.bias.index_select(0, index), eps=self.eps
        )

    def extra_repr(self) -> str:
        """Return the sizes for ``print(network)``."""
        return f"modalities={self.weight.shape[0]}, channels={self.weight.shape[1]}, eps={self.eps}"


def use_modality_norms(module: nn.Module, num_modalities: int) -> Condition:
    """Replace the instance normalisations below ``module`` by per-modality ones, and return what tells them apart.

    Raises:
        ValueError: ``module`` normalises in another way.
    """
    modality = Condition()
    replace_instance_norms(module, lambda original: ModalityInstanceNorm(original, num_modalities, modality))
    return modality
