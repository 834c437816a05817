"""Feature taps: the encoder's levels of any network, so that any model of the same data can teach."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.networks.backbone import Logits
from nnunet_missingmod.networks.multimodal_network import MultimodalNetwork


def forward_with_encoder_features(
    network: nn.Module, x: torch.Tensor, present: torch.Tensor | None = None
) -> tuple[Logits, list[torch.Tensor]]:
    """Return the logits and, per level, full resolution first, the features (B, C_k, *spatial_k) its decoder sees.

    Args:
        network: one of this package's, or any U-Net with ``encoder`` and ``decoder``, stock nnU-Net's included, neither
            compiled nor wrapped for distributed training.
        x: (B, J + E, *spatial), absent modalities marked. A stock network sees zeros in their place.
        present: (B, J) bool, only for networks of this package; by default the modalities without the mark.

    Raises:
        ValueError: the network is not made of an encoder and a decoder, or ``present`` is given with a stock network.
    """
    if isinstance(network, MultimodalNetwork):
        logits, features = network(x, present, return_features=True)
        return logits, features.encoder
    if present is not None:
        raise ValueError(f"{type(network).__name__} cannot be told what is present: mark absent modalities in x.")
    skips = _stock_encoder(network)(absence.fill(x))
    decoder: Any = network.decoder
    return decoder(skips), skips


def encoder_features(network: nn.Module, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Return the second item of ``forward_with_encoder_features`` without running the decoder."""
    if isinstance(network, MultimodalNetwork):
        return network.encoder_features(x, present)
    if present is not None:
        return forward_with_encoder_features(network, x, present)[1]  # says what is wrong
    skips: list[torch.Tensor] = _stock_encoder(network)(absence.fill(x))
    return skips


def _stock_encoder(network: nn.Module) -> Any:
    if not (hasattr(network, "encoder") and hasattr(network, "decoder")):
        raise ValueError(
            f"{type(network).__name__} has no encoder and decoder to take features from: use a teacher whose plans "
            "name PlainConvUNet or ResidualEncoderUNet."
        )
    return network.encoder
