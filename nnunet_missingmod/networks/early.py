"""Early fusion: the channel encoder's latents are concatenated and go through one backbone.

A forward pass costs about as much as the backbone's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from nnunet_missingmod.networks.backbone import Backbone, Features, Logits
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.norms import use_presence_norms
from nnunet_missingmod.networks.presence_convolutions import use_presence_convolutions
from nnunet_missingmod.networks.substitution import SubstitutingEncoder


def _is_complete(present: torch.Tensor | None) -> bool:
    """Return whether every sample is known to have every modality, where that costs nothing to know.

    A network that is trained or compiled is the same for every batch; and nobody waits for a GPU to tell.
    """
    if present is None or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return present.device.type == "cpu" and bool(present.all())


class EarlyFusionNetwork(MultimodalNetwork):
    """One backbone that gets the concatenated latents of all modalities; an absent one's latent is a constant.

    Args:
        channel_encoder: maps J modalities to C latent channels each, or substitutes those that are absent.
        backbone: built for J * C input channels, plus the E channels after the modalities (a previous stage's
            segmentation), which skip the channel encoder.
        presence_conditioning: let the backbone's normalisation depend on which modalities are absent
            (``norms.PresenceInstanceNorm``). This changes nothing at initialisation.
        presence_convolutions: let its convolutions depend on it too (``presence_convolutions``).

    Raises:
        ValueError: ``presence_conditioning`` is on and the backbone uses another normalisation than instance
            normalisation, or ``presence_convolutions`` without it.
    """

    def __init__(
        self,
        channel_encoder: ChannelEncoder | SubstitutingEncoder,
        backbone: Backbone,
        *,
        presence_conditioning: bool = False,
        presence_convolutions: bool = False,
    ) -> None:
        super().__init__(channel_encoder, backbone)
        self.condition = use_presence_norms(self, self.num_modalities) if presence_conditioning else None
        if presence_convolutions:
            if self.condition is None:
                raise ValueError("presence_convolutions goes with presence_conditioning: set that to true, too.")
            whole: Any = self.backbone
            use_presence_convolutions(whole, self.num_modalities, self.condition)

    def forward(
        self, x: torch.Tensor, present: torch.Tensor | None = None, *, return_features: bool = False
    ) -> Logits | tuple[Logits, Features]:
        """Return logits, and with ``return_features`` also ``Features``.

        The logits of a sample without any modality are finite but meaningless.

        Args:
            x: (B, J + E, *spatial), absent modalities marked.
            present: (B, J) bool on any device, the modalities to use; by default all that are not marked as absent.
            return_features: also return ``Features``.
        """
        complete = _is_complete(present)
        inputs, latents, present, offers = self._prepare(x, present)
        with self._conditioned(present, complete=complete):
            skips = self.encoder(inputs)
            logits: Logits = self.decoder(skips)
        if return_features or self.returns_in_training("features"):
            return logits, Features(latents, present, skips, offers=offers)
        return logits

    def encoder_features(self, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the encoder's levels without running the decoder; the arguments are those of ``forward``."""
        complete = _is_complete(present)
        inputs, _, present, _ = self._prepare(x, present)
        with self._conditioned(present, complete=complete):
            skips: list[torch.Tensor] = self.encoder(inputs)
        return skips

    def _prepare(
        self, x: torch.Tensor, present: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return the backbone's input (B, J * C + E, *spatial), latents, ``present`` on their device, and offers."""
        images, extra, present = self.split_input(x, present)
        present = present.to(x.device, non_blocking=True)
        offers = None
        if isinstance(self.channel_encoder, SubstitutingEncoder):
            offers = self.channel_encoder.offers(images, present)
            latents = self.channel_encoder.choose(offers, present)
        else:
            latents = self.channel_encoder(images, present)
        return self.append_extra_channels(latents.flatten(1, 2), extra), latents, present, offers

    def _conditioned(self, present: torch.Tensor, *, complete: bool) -> AbstractContextManager[None]:
        return nullcontext() if self.condition is None else self.condition.set(present, changes_nothing=complete)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs of the channel encoder and the backbone."""
        return (
            self.channel_encoder.compute_conv_feature_map_size(input_size)
            + int(self.encoder.compute_conv_feature_map_size(input_size))
            + int(self.decoder.compute_conv_feature_map_size(input_size))
        )
