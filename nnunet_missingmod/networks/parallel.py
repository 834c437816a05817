"""Parallel network: one backbone that runs once for each present modality, followed by a fusion.

The time of a prediction is proportional to the number of present modalities. A branch is one (sample, modality) pair.
The branches of a batch are the rows of one larger batch, whose size changes from step to step: with ``torch.compile``
make the batch dimension dynamic.

Source: Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nnunet_missingmod.choices import FUSED_AT
from nnunet_missingmod.networks.backbone import Backbone, Features, Logits, count_outputs, map_logits, unwrapped
from nnunet_missingmod.networks.branches import Branches, Pairs, find_pairs
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.fusion import build_fusion, mean_fusion
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.norms import use_modality_norms


class ParallelNetwork(MultimodalNetwork):
    """The same backbone for each present modality, with normalisation parameters per modality, then a fusion.

    Fused at ``logits``: encoder and decoder run per branch, and the present branches' logits are averaged. Fused at
    ``features``: the encoder runs per branch, each of its levels is fused, and the decoder runs once per sample.

    Args:
        channel_encoder: maps J modalities to C latent channels each. Its ``absent_fill`` must be ``zero``, because an
            absent modality has no branch and a learned latent would never be used.
        backbone: built for C input channels, plus the E channels after the modalities (a previous stage's
            segmentation), which every branch of a sample gets. Its instance normalisations are replaced and keep their
            initial values.
        fused_at: ``logits`` or ``features``.
        feature_fusion: of ``choices.FEATURE_FUSIONS`` (see ``fusion``); the fusion at logits is always the mean.

    Raises:
        ValueError: an argument is out of its range, or the backbone uses another normalisation than instance
            normalisation.
    """

    def __init__(
        self, channel_encoder: ChannelEncoder, backbone: Backbone, *, fused_at: str, feature_fusion: str = "mean"
    ) -> None:
        super().__init__(channel_encoder, backbone)
        if fused_at not in FUSED_AT:
            raise ValueError(f"fused_at must be one of {', '.join(FUSED_AT)}, got {fused_at!r}.")
        if feature_fusion != "mean" and fused_at == "logits":
            raise ValueError(f"Logits are fused by their mean, got feature_fusion {feature_fusion!r}.")
        if channel_encoder.absent_fill != "zero":
            raise ValueError("Absent modalities have no branch: use absent_fill 'zero' with the parallel network.")
        self.fused_at = fused_at
        self._next_present: torch.Tensor | None = None
        self.modality = use_modality_norms(self if fused_at == "logits" else self.encoder, self.num_modalities)
        self.fusions = nn.ModuleList()
        if fused_at == "features":
            self.fusions.extend(
                build_fusion(feature_fusion, channels, self.num_modalities, self.encoder.conv_op)
                for channels in self.encoder.output_channels
            )

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

        Raises:
            ValueError: ``return_branches`` is set and the network is fused at features.
        """
        return_features = return_features or self.returns_in_training("features")
        return_branches = return_branches or self.returns_in_training("branches")
        # These lines stay in forward: torch.compile ends the graph at _take_next_present and at find_pairs, and can
        # start a new one only in the function that it compiles.
        if present is None:
            present = self._take_next_present()
        images, extra, present = self.split_input(x, present)
        pairs = find_pairs(present, x.device)
        levels, latent_rows = self._encode_pairs(images, extra, pairs)
        if self.fused_at == "features":
            if return_branches:
                raise ValueError("Branches have no logits in a network fused at features: use fused_at='logits'.")
            fused = self.fuse_levels(levels, pairs, pairs.present)
            logits: Logits = self.decoder(fused)
            return (logits, Features(pairs.scatter(latent_rows), pairs.present, fused)) if return_features else logits
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

    def encode(
        self, x: torch.Tensor, present: torch.Tensor | None = None
    ) -> tuple[list[torch.Tensor], torch.Tensor, Pairs]:
        """Return the values before any fusion: each branch's encoder levels, the latents, and the branches' pairs.

        Args:
            x, present: as in ``forward``, but by default ``present`` is read from the marks in ``x``.

        Returns:
            Per level (N, C_k, *spatial_k); the latents (N, C, *spatial); the N pairs.
        """
        images, extra, present = self.split_input(x, present)
        pairs = find_pairs(present, x.device)
        return *self._encode_pairs(images, extra, pairs), pairs

    def _encode_pairs(
        self, images: torch.Tensor, extra: torch.Tensor, pairs: Pairs
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        latents = self.channel_encoder.encode_pairs(images, pairs)
        rows = self.append_extra_channels(latents, extra.index_select(0, pairs.sample))  # (N, C + E, *spatial)
        with self.modality.set(pairs.modality):
            levels: list[torch.Tensor] = self.encoder(rows)
        return levels, latents

    def encoder_features(self, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the fused levels without running the decoder; the arguments are those of ``encode``."""
        levels, _, pairs = self.encode(x, present)
        if self.fused_at == "features":
            return self.fuse_levels(levels, pairs, pairs.present)
        return [mean_fusion(pairs.scatter(level), pairs.present) for level in levels]

    def set_present(self, present: torch.Tensor) -> None:
        """Set which modalities are present in the input of the next ``forward(x)``.

        Without it ``forward(x)`` reads the marks in ``x``; on a GPU the CPU then has to wait for the result.

        Args:
            present: (B, J) bool, on the CPU. It holds for one forward pass.
        """
        self._next_present = present

    # Not compiled: torch.compile would compile anew whenever this attribute changes.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _take_next_present(self) -> torch.Tensor | None:
        present, self._next_present = self._next_present, None
        return present

    def fuse_levels(self, levels: list[torch.Tensor], pairs: Pairs, kept: torch.Tensor) -> list[torch.Tensor]:
        """Return the fusion at features, (B, C_k, *spatial_k) per level, of the modalities in ``kept`` (B, J) bool."""
        return [fusion(pairs.scatter(level), kept) for fusion, level in zip(self.fusions, levels, strict=True)]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs of the channel encoder, J branches, the fusions and the decoder."""
        outputs = self.channel_encoder.compute_conv_feature_map_size(input_size)
        outputs += self.num_modalities * int(self.encoder.compute_conv_feature_map_size(input_size))
        decoders = self.num_modalities if self.fused_at == "logits" else 1
        outputs += decoders * int(self.decoder.compute_conv_feature_map_size(input_size))
        size = list(input_size)
        fusion: Any
        for level, fusion in enumerate(self.fusions):
            size = [length // stride for length, stride in zip(size, self.encoder.strides[level], strict=True)]
            outputs += count_outputs(fusion.outputs_per_voxel(), size)
        return outputs


def tell_present(network: nn.Module, present: torch.Tensor) -> None:
    """Tell a network that runs only present modalities which they are, so that it need not wait for the GPU.

    Args:
        network: of any kind, compiled or wrapped or not; others are told nothing.
        present: (B, J) bool, on the CPU.
    """
    network = unwrapped(network)
    if isinstance(network, ParallelNetwork):
        network.set_present(present)
