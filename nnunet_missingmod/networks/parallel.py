"""Parallel network: one backbone that runs once for each present modality, followed by the mean of their logits.

The time of a prediction is proportional to the number of present modalities. A branch is one (sample, modality) pair.
The branches of a batch are the rows of one larger batch, whose size changes from step to step. ``torch.compile`` is
told so: it compiles one graph for all sizes from 2 on, and one for a single row.

Source: Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nnunet_missingmod.networks.backbone import Backbone, Features, Logits, map_logits
from nnunet_missingmod.networks.branches import Branches, Pairs, find_pairs
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.cpu_convolutions import use_cpu_convolutions
from nnunet_missingmod.networks.fusion import mean_fusion
from nnunet_missingmod.networks.multimodal import PresentOnlyNetwork
from nnunet_missingmod.networks.norms import use_modality_norms


class ParallelNetwork(PresentOnlyNetwork):
    """The same backbone for each present modality, with normalisation parameters per modality, then the mean of logits.

    Args:
        channel_encoder: maps J modalities to C latent channels each. Its ``absent_fill`` must be ``zero``, because an
            absent modality has no branch and a learned latent would never be used.
        backbone: built for C input channels, plus the E channels after the modalities (a previous stage's
            segmentation), which every branch of a sample gets. Its instance normalisations are replaced and keep their
            initial values.

    Raises:
        ValueError: the channel encoder fills absent modalities, or the backbone uses another normalisation than
            instance normalisation.
    """

    def __init__(self, channel_encoder: ChannelEncoder, backbone: Backbone) -> None:
        super().__init__(channel_encoder, backbone)
        self.modality = use_modality_norms(self, self.num_modalities)
        use_cpu_convolutions(self)

    def forward(
        self,
        x: torch.Tensor,
        present: torch.Tensor | None = None,
        *,
        return_features: bool = False,
        return_branches: bool = False,
    ) -> Logits | tuple[Logits, Features] | Branches:
        """Return logits, with ``return_features`` also ``Features``, or with ``return_branches`` only the branches.

        The logits of a sample without any modality are finite but meaningless.

        Args:
            x: (B, J + E, *spatial), absent modalities marked.
            present: (B, J) bool, the modalities to use; by default those of ``set_present``, or else all that are not
                marked as absent. If it is on the CPU, the forward pass does not wait for the GPU.
            return_features: also return ``Features``.
            return_branches: return ``Branches`` instead. This is an argument rather than a method because the wrappers
                of distributed training only forward calls of ``forward``.
        """
        return_features = return_features or self.returns_in_training("features")
        return_branches = return_branches or self.returns_in_training("branches")
        images, extra, _, _, pairs = self._take_input(x, present, in_pairs=True)
        assert pairs is not None
        levels, latent_rows = self._encode_pairs(images, extra, pairs)
        with self.modality.set(pairs.modality):
            branch_logits: Logits = self.decoder(levels)
        if return_branches:
            return Branches(branch_logits, levels, pairs.scatter(latent_rows), pairs)

        def fuse(branch_rows: torch.Tensor) -> torch.Tensor:
            return mean_fusion(pairs.scatter(branch_rows), pairs.present)

        logits = map_logits(fuse, branch_logits)
        if not return_features:
            return logits
        return logits, Features(pairs.scatter(latent_rows), pairs.present, [fuse(level) for level in levels])

    def _encode_pairs(
        self, images: torch.Tensor, extra: torch.Tensor, pairs: Pairs
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        latents = self.channel_encoder.encode_pairs(images, pairs)
        rows = self.append_extra_channels(latents, extra.index_select(0, pairs.sample))  # (N, C + E, *spatial)
        with self.modality.set(pairs.modality):
            levels: list[torch.Tensor] = self.encoder(rows)
        return levels, latents

    def encoder_features(self, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the fused levels without running the decoder; ``present`` is by default read from ``x``."""
        images, extra, present = self.split_input(x, present)
        pairs = find_pairs(present, x.device)
        levels, _ = self._encode_pairs(images, extra, pairs)
        return [mean_fusion(pairs.scatter(level), pairs.present) for level in levels]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs of the channel encoder and J branches."""
        branch = int(self.encoder.compute_conv_feature_map_size(input_size))
        branch += int(self.decoder.compute_conv_feature_map_size(input_size))
        return self.channel_encoder.compute_conv_feature_map_size(input_size) + self.num_modalities * branch
