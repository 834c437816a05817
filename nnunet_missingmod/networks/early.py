"""Early fusion: channel encoder, concatenation, one backbone. Costs what the backbone costs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from nnunet_missingmod.networks.backbone import Backbone, Features, Logits
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.norms import use_presence_norms


class EarlyFusionNetwork(MultimodalNetwork):
    """Latents of all modalities side by side in one backbone; absent ones hold the channel encoder's constant.

    Args:
        channel_encoder: J modalities to C latent channels each.
        backbone: built for J * C input channels, plus those after the modalities (a previous stage's segmentation),
            which pass by the channel encoder.
        presence_conditioning: let the backbone's normalisation depend on which modalities are absent
            (``presence_norm``). The network starts as the one without.

    Raises:
        ValueError: the backbone's normalisation cannot be conditioned.
    """

    def __init__(
        self, channel_encoder: ChannelEncoder, backbone: Backbone, *, presence_conditioning: bool = False
    ) -> None:
        super().__init__(channel_encoder, backbone)
        self.condition = use_presence_norms(self, self.num_modalities) if presence_conditioning else None

    def forward(
        self, x: torch.Tensor, present: torch.Tensor | None = None, *, return_features: bool = False
    ) -> Logits | tuple[Logits, Features]:
        """Return logits, and with ``return_features`` what led to them.

        A sample without any modality gets finite logits that mean nothing.

        Args:
            x: (B, J + E, *spatial), absent modalities marked.
            present: (B, J) bool on any device: which modalities to use. By default those without the mark.
            return_features: also return ``Features``.
        """
        inputs, latents, present = self._prepare(x, present)
        with self._conditioned(present):
            skips = self.encoder(inputs)
            logits: Logits = self.decoder(skips)
        if return_features or self.trains_on("features"):
            return logits, Features(latents, present, skips)
        return logits

    def encoder_features(self, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the encoder's levels without running the decoder; arguments as in ``forward``."""
        inputs, _, present = self._prepare(x, present)
        with self._conditioned(present):
            skips: list[torch.Tensor] = self.encoder(inputs)
        return skips

    def _prepare(
        self, x: torch.Tensor, present: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the backbone's input (B, J * C + E, *spatial), the latents, and ``present`` on their device."""
        images, extra, present = self.split_input(x, present)
        present = present.to(x.device, non_blocking=True)
        latents = self.channel_encoder(images, present)
        return self.append(latents.flatten(1, 2), extra), latents, present

    def _conditioned(self, present: torch.Tensor) -> AbstractContextManager[None]:
        return nullcontext() if self.condition is None else self.condition.set(present)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the channel encoder's and the backbone's convolution outputs."""
        return (
            self.channel_encoder.compute_conv_feature_map_size(input_size)
            + int(self.encoder.compute_conv_feature_map_size(input_size))
            + int(self.decoder.compute_conv_feature_map_size(input_size))
        )
