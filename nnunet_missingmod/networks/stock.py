"""Stock nnU-Net's network, extended by hooks that let it return features with its logits in training.

Only hooks are added. Modules and weights keep nnU-Net's names, so that either side can load the other's checkpoints.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.networks.backbone import Features, fill_absent_channels


class _FeatureHooks:
    """Records the present modalities and the encoder's output of a forward pass, and adds them to its result."""

    def __init__(self, num_modalities: int) -> None:
        self.num_modalities = num_modalities
        self.present: torch.Tensor | None = None
        self.skips: list[torch.Tensor] = []

    def before(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Record which modalities are present, before the fill removes the marks."""
        if _returns_features(network):
            self.present = absence.read(inputs[0][:, : self.num_modalities])

    def after_encoder(self, _encoder: nn.Module, _inputs: tuple[Any, ...], skips: list[torch.Tensor]) -> None:
        """Record the encoder's levels, if this forward pass returns features."""
        if self.present is not None:
            self.skips = skips

    def after(self, network: nn.Module, inputs: tuple[Any, ...], logits: Any) -> Any:
        """Return logits and features if features are requested, else the logits; drop what was recorded."""
        skips, self.skips = self.skips, []
        if not _returns_features(network):
            return logits
        present, self.present = self.present, None
        assert present is not None
        latents = inputs[0][:, : self.num_modalities].unsqueeze(2)  # (B, J, 1, *spatial), zeros where absent
        return logits, Features(latents, present, skips)


def return_features_in_training(network: Any, num_modalities: int) -> nn.Module:
    """Make a stock network read absent modalities as zeros and able to return features; return the same network.

    It gets an attribute ``training_output``, like the networks of this package: with ``"features"`` a forward pass in
    training mode returns (logits, ``Features``); with ``"logits"``, and in evaluation mode, it returns logits.

    Args:
        network: has ``encoder`` and ``decoder``; neither compiled nor wrapped.
        num_modalities: J; the input's channels after the first J are never absent.
    """
    hooks = _FeatureHooks(num_modalities)
    network.training_output = "logits"
    network.register_forward_pre_hook(hooks.before)  # must run before the fill that the next line registers
    fill_absent_channels(network)
    network.encoder.register_forward_hook(hooks.after_encoder)
    network.register_forward_hook(hooks.after)
    filled: nn.Module = network
    return filled


def _returns_features(network: nn.Module) -> bool:
    return network.training and network.training_output == "features"
