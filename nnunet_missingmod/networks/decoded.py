"""The decoder's last features, from which the logits are made, for losses that compare those of two networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nnunet_missingmod.networks.backbone import unwrapped


class DecodedFeatures:
    """Holds what the layer before the full-resolution logits got in the network's latest forward pass.

    Args:
        network: one decoder run makes its logits; compiled or wrapped or not, stock nnU-Net's included.

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
        decoder.seg_layers[-1].register_forward_pre_hook(self._note)

    def _note(self, _layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._values = inputs[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> DecodedFeatures:
        """Return one that holds nothing, for a copy of the network."""
        copied = object.__new__(DecodedFeatures)
        copied._values = None
        return copied

    def take(self) -> torch.Tensor:
        """Return (B, C, *spatial), and hold it no longer.

        Raises:
            RuntimeError: there was no forward pass since it was taken.
        """
        values, self._values = self._values, None
        if values is None:
            raise RuntimeError("The network has not run since its decoder's features were taken.")
        return values
