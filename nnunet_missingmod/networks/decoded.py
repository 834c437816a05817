"""The decoder's last features, from which the logits are made, for losses that compare those of two networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.networks.branches import find_pairs
from nnunet_missingmod.networks.fusion import mean_fusion
from nnunet_missingmod.networks.parallel import ParallelNetwork


class DecodedFeatures:
    """Holds what the layer before the full-resolution logits got in the network's latest forward pass.

    Args:
        network: compiled or wrapped or not, stock nnU-Net's included.

    Raises:
        ValueError: its decoder has no layers of logits to look at.
    """

    def __init__(self, network: nn.Module) -> None:
        decoder: Any = getattr(unwrapped(network), "decoder", None)
        if not hasattr(decoder, "seg_layers"):
            raise ValueError(
                f"{type(unwrapped(network)).__name__} has no decoder whose features could be compared: use plans that "
                "name PlainConvUNet or ResidualEncoderUNet."
            )
        self._values: torch.Tensor | None = None
        self._by_modality = isinstance(unwrapped(network), ParallelNetwork)
        decoder.seg_layers[-1].register_forward_pre_hook(self._note)

    def _note(self, _layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._values = inputs[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> DecodedFeatures:
        """Return one that holds nothing, for a copy of the network."""
        copied = object.__new__(DecodedFeatures)
        copied._values = None
        copied._by_modality = self._by_modality
        return copied

    def take(self, present: torch.Tensor | None = None) -> torch.Tensor:
        """Return (B, C, *spatial), and hold it no longer.

        A network that runs its decoder for each modality and takes the mean of the logits has the mean of their
        features: its last layer is linear, so that this is what its logits are made of.

        Args:
            present: (B, J) bool, the modalities of which such a network made its logits.

        Raises:
            RuntimeError: there was no forward pass since it was taken.
        """
        values, self._values = self._values, None
        if values is None:
            raise RuntimeError("The network has not run since its decoder's features were taken.")
        if not self._by_modality or present is None:
            return values
        pairs = find_pairs(present, values.device)
        return mean_fusion(pairs.scatter(values), pairs.present)
