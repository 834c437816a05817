"""Networks with an encoder for every modality, whose levels are fused before one decoder.

The encoders are one for all modalities with normalisation parameters of each, or a copy per modality, of the plans'
widths or of a J-th of them. A prediction runs the encoders of present modalities alone.

Sources: shared, Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation; a copy per modality, Havaei
et al., HeMIS (2016) and most systems since; slim copies, Missing as Masking (M3FeCon, 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from nnunet_missingmod.network_choices import ENCODERS
from nnunet_missingmod.networks.backbone import Backbone, Features, Logits, count_outputs
from nnunet_missingmod.networks.branches import Pairs, find_pairs
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.fusion import build_fusion
from nnunet_missingmod.networks.multimodal import PresentOnlyNetwork
from nnunet_missingmod.networks.norms import use_modality_norms, use_presence_norms


class Levels(NamedTuple):
    """What the encoders make of each modality by itself, before any fusion.

    Attributes:
        values: per level, full resolution first, (B, J, c_k, *spatial_k); zeros, or what an encoder makes of zeros, for
            modalities that were not encoded.
        latents: (B, J, C, *spatial), the channel encoder's output.
        encoded: (B, J) bool, the modalities that were encoded.
    """

    values: list[torch.Tensor]
    latents: torch.Tensor
    encoded: torch.Tensor


class SizesOfEncoder(NamedTuple):
    """What nnU-Net's decoder reads of its encoder to count its outputs, without holding the encoder's weights."""

    output_channels: Sequence[int]
    strides: Sequence[Sequence[int]]


class ModalityEncoders(nn.Module):
    """J encoders of the same design, one for each modality; they stand in the place of the backbone's encoder.

    Attributes:
        output_channels: of the levels after their fusion, which the decoder gets.
        branch_channels: of a single encoder's levels.
        strides, conv_op: of each encoder.
    """

    def __init__(self, encoders: Sequence[Any], output_channels: Sequence[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.output_channels = tuple(output_channels)
        self.branch_channels = tuple(encoders[0].output_channels)
        self.strides, self.conv_op = encoders[0].strides, encoders[0].conv_op

    def forward(self, rows: torch.Tensor, present: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels (B, J, c_k, *spatial_k) of rows (B, J, C, *spatial).

        In training every encoder runs on every sample, so that its parameters take part in every step, as distributed
        training requires, and the sizes do not depend on the subsets, for which ``torch.compile`` would compile anew.
        In evaluation an encoder runs on the samples that have its modality.
        """
        if self.training:
            of_modality = [encoder(rows[:, index]) for index, encoder in enumerate(self.encoders)]
            return [torch.stack(level, dim=1) for level in zip(*of_modality, strict=True)]
        return self._of_present(rows, present)

    # Which encoders run depends on the data, which a compiled graph cannot express.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _of_present(self, rows: torch.Tensor, present: torch.Tensor) -> list[torch.Tensor]:
        samples, modalities = present.cpu().nonzero(as_tuple=True)
        levels: list[torch.Tensor] = []
        for index, encoder in enumerate(self.encoders):
            chosen = samples[modalities == index].to(rows.device)
            if not len(chosen):
                continue
            found = encoder(rows[:, index].index_select(0, chosen))
            levels = levels or [level.new_zeros(*present.shape, *level.shape[1:]) for level in found]
            for level, of_samples in zip(levels, found, strict=True):
                level[:, index].index_copy_(0, chosen, of_samples)
        if levels:
            return levels
        nothing = self.encoders[0](torch.zeros_like(rows[:, 0]))  # no sample has any modality
        return [
            torch.zeros_like(level).unsqueeze(1).expand(-1, present.shape[1], *level.shape[1:]) for level in nothing
        ]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs of all encoders."""
        encoders: Any = self.encoders
        return sum(int(encoder.compute_conv_feature_map_size(input_size)) for encoder in encoders)


class ModalityEncoderNetwork(PresentOnlyNetwork):
    """Encoders for the modalities, a fusion of each level over the present ones, and the plans' decoder.

    With f_{j,l} level l of modality j's encoder and P the modalities that are kept::

        s_l = fusion_l(f_{j,l}, j in P),    logits = decoder(s_0, ..., s_{L-1})

    Args:
        channel_encoder: maps J modalities to C latent channels each. Its ``absent_fill`` must be ``zero``.
        backbone: built for C input channels, plus the E channels after the modalities (a previous stage's
            segmentation), which every encoder gets. It keeps its decoder; of its encoder it keeps what ``encoders``
            leaves.
        encoders: ``shared``: the backbone's encoder for every modality, whose instance normalisations get parameters of
            each modality and keep their initial values. ``separate`` and ``slim``: those of ``branches``.
        branches: J backbones whose encoders take the place of the backbone's.
        feature_fusion: of ``network_choices.FEATURE_FUSIONS`` (see ``fusion``).
        presence_conditioning: let the decoder's normalisation depend on which modalities are absent
            (``norms.PresenceInstanceNorm``). This changes nothing at initialisation.

    Raises:
        ValueError: an argument is out of its range or does not go with another, or the backbone uses another
            normalisation than instance normalisation where it is to depend on modalities.
    """

    def __init__(
        self,
        channel_encoder: ChannelEncoder,
        backbone: Backbone,
        *,
        encoders: str = "shared",
        branches: Sequence[Backbone] = (),
        feature_fusion: str = "mean",
        presence_conditioning: bool = False,
    ) -> None:
        super().__init__(channel_encoder, backbone)
        if encoders not in ENCODERS:
            raise ValueError(f"encoders must be one of {', '.join(ENCODERS)}, got {encoders!r}.")
        if len(branches) != (0 if encoders == "shared" else self.num_modalities):
            raise ValueError(f"encoders {encoders!r} has no use for {len(branches)} branches.")
        sizes = SizesOfEncoder(tuple(self.encoder.output_channels), tuple(self.encoder.strides))
        if encoders == "shared":
            self.modality = use_modality_norms(self.encoder, self.num_modalities)
            widths = sizes.output_channels
        else:
            backbone.encoder = ModalityEncoders([branch.encoder for branch in branches], sizes.output_channels)
            widths = backbone.encoder.branch_channels
            # nnU-Net's decoder holds the encoder that it was built for.
            del backbone.decoder.encoder
            backbone.decoder.encoder = sizes
        self.encoders = encoders
        # The shared encoder, which nnU-Net's decoder holds, has the norms of its modalities already.
        self.condition = use_presence_norms(backbone.decoder, self.num_modalities) if presence_conditioning else None
        self.fusions = nn.ModuleList(
            build_fusion(feature_fusion, width, self.num_modalities, self.encoder.conv_op, out_channels=channels)
            for width, channels in zip(widths, sizes.output_channels, strict=True)
        )

    def forward(
        self, x: torch.Tensor, present: torch.Tensor | None = None, *, return_features: bool = False
    ) -> Logits | tuple[Logits, Features]:
        """Return logits, and with ``return_features`` also ``Features``.

        The logits of a sample without any modality are finite but meaningless.

        Args:
            x: (B, J + E, *spatial), absent modalities marked.
            present: (B, J) bool, the modalities to use; by default those of ``set_present``, or else all that are not
                marked as absent. If it is on the CPU, the forward pass does not wait for the GPU.
            return_features: also return ``Features``.
        """
        if present is None:
            present = self._take_next_present()
        images, extra, present = self.split_input(x, present)
        pairs = find_pairs(present, x.device) if self.encoders == "shared" else None
        levels = self._encode(images, extra, present, pairs)
        fused = self.fuse(levels.values, levels.encoded)
        logits = self.decode(fused, levels.encoded)
        if return_features or self.returns_in_training("features"):
            return logits, Features(levels.latents, levels.encoded, fused)
        return logits

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Levels:
        """Return what the encoders make of each modality; by default ``present`` is read from the marks in ``x``."""
        images, extra, present = self.split_input(x, present)
        pairs = find_pairs(present, x.device) if self.encoders == "shared" else None
        return self._encode(images, extra, present, pairs)

    def _encode(self, images: torch.Tensor, extra: torch.Tensor, present: torch.Tensor, pairs: Pairs | None) -> Levels:
        if pairs is not None:
            latents = self.channel_encoder.encode_pairs(images, pairs)
            rows = self.append_extra_channels(latents, extra.index_select(0, pairs.sample))  # (N, C + E, *spatial)
            with self.modality.set(pairs.modality):
                levels: list[torch.Tensor] = self.encoder(rows)
            return Levels([pairs.scatter(level) for level in levels], pairs.scatter(latents), pairs.present)
        on_device = present.to(images.device, non_blocking=True)
        latents = self.channel_encoder(images, on_device)
        every = extra.unsqueeze(1).expand(-1, self.num_modalities, *extra.shape[1:]).to(latents.dtype)
        rows = torch.cat([latents, every], dim=2) if extra.shape[1] else latents
        return Levels(self.encoder(rows, present), latents, on_device)

    def fuse(self, values: Sequence[torch.Tensor], kept: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels (B, C_k, *spatial_k) that the decoder gets.

        Args:
            values: of `Levels`.
            kept: (B, J) bool on their device, the modalities to use.
        """
        return [fusion(level, kept) for fusion, level in zip(self.fusions, values, strict=True)]

    def decode(self, fused: list[torch.Tensor], kept: torch.Tensor) -> Logits:
        """Return the decoder's logits of fused levels; ``kept`` is (B, J) bool, the modalities that were fused."""
        with nullcontext() if self.condition is None else self.condition.set(kept):
            logits: Logits = self.decoder(fused)
        return logits

    def encoder_features(self, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the fused levels without running the decoder; the arguments are those of ``encode``."""
        levels = self.encode(x, present)
        return self.fuse(levels.values, levels.encoded)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs of the channel encoder, J encoders, the fusions and the decoder."""
        runs = self.num_modalities if self.encoders == "shared" else 1
        outputs = self.channel_encoder.compute_conv_feature_map_size(input_size)
        outputs += runs * int(self.encoder.compute_conv_feature_map_size(input_size))
        outputs += int(self.decoder.compute_conv_feature_map_size(input_size))
        size = list(input_size)
        fusion: Any
        for level, fusion in enumerate(self.fusions):
            size = [length // stride for length, stride in zip(size, self.encoder.strides[level], strict=True)]
            outputs += count_outputs(fusion.outputs_per_voxel(), size)
        return outputs
