"""Networks with an encoder for every modality, whose levels are fused before one decoder.

The encoders are one for all modalities with normalisation parameters of each, or a copy per modality, of the plans'
widths or of a J-th of them. A prediction runs the encoders of present modalities alone.

Sources: shared, Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation; a copy per modality, Havaei
et al., HeMIS (2016) and most systems since; slim copies, Missing as Masking (M3FeCon, 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from nnunet_missingmod.network_choices import ENCODERS
from nnunet_missingmod.networks.backbone import Backbone, Features, Logits, Separately, count_outputs
from nnunet_missingmod.networks.bottleneck import SharedSpecificBottleneck
from nnunet_missingmod.networks.branches import Pairs, find_pairs
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.cpu_convolutions import use_cpu_convolutions
from nnunet_missingmod.networks.decoders import DecoderDesign, design_of
from nnunet_missingmod.networks.encoders import ModalityEncoders, SizesOfEncoder
from nnunet_missingmod.networks.fusion import ConcatenateFusion, build_fusion
from nnunet_missingmod.networks.gaussian_fusion import GaussianProductFusion
from nnunet_missingmod.networks.kept_channels import use_kept_channels
from nnunet_missingmod.networks.multimodal import PresentOnlyNetwork
from nnunet_missingmod.networks.norms import Condition, use_modality_norms, use_presence_norms
from nnunet_missingmod.networks.region_fusion import RegionAwareFusion


class _Fusing(Sequence[torch.Tensor]):
    """The levels that a decoder is given, each fused when it is asked for, and kept.

    nnU-Net's decoder asks for a level once it has upsampled what comes from below, on which fusion by regions depends.
    """

    def __init__(
        self, network: ModalityEncoderNetwork, levels: list[torch.Tensor], kept: torch.Tensor, of_deepest: torch.Tensor
    ) -> None:
        self.network = network
        self.levels = levels
        self.kept = [kept] * (len(levels) - 1) + [of_deepest]
        self.fused: dict[int, torch.Tensor] = {}
        self.maps: dict[int, torch.Tensor] = {}
        self.gaussians: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: Any) -> Any:
        level = index % len(self.levels)
        if level not in self.fused:
            self.fused[level] = self._fuse(level)
        return self.fused[level]

    def _fuse(self, level: int) -> torch.Tensor:
        fusion, values, kept = self.network.fusions[level], self.levels[level], self.kept[level]
        if isinstance(fusion, RegionAwareFusion):
            deepest = level == len(self.levels) - 1
            fused, self.maps[level] = fusion(values, kept, None if deepest else self.network.upsampled)
        elif isinstance(fusion, GaussianProductFusion):
            fused, self.gaussians[level] = fusion(values, kept)
        else:
            fused = fusion(values, kept)
        result: torch.Tensor = fused
        return result

    def everything(self) -> list[torch.Tensor]:
        """Return all levels, full resolution first."""
        return [self[level] for level in range(len(self.levels))]

    def found_in(self, separately: Separately) -> Separately:
        """Return the features with what was found on the way."""
        maps = [self.maps[level] for level in sorted(self.maps)]
        gaussians = [self.gaussians[level] for level in sorted(self.gaussians)]
        return separately._replace(maps=maps, gaussians=gaussians)


class ModalityEncoderNetwork(PresentOnlyNetwork):
    """Encoders for the modalities, a fusion of each level over the present ones, and the plans' decoder.

    With f_{j,l} level l of modality j's encoder and P the modalities that are kept::

        s_l = fusion_l(f_{j,l}, j in P),    logits = decoder(s_0, ..., s_{L-1})

    What is not kept but in the input is encoded in training (``set_present``), for losses beside the segmentation's;
    nothing of it reaches the logits.

    Args:
        channel_encoder: maps J modalities to C latent channels each. Its ``absent_fill`` must be ``zero``.
        backbone: built for C input channels, plus the E channels after the modalities (a previous stage's
            segmentation), which every encoder gets. It keeps its decoder; of its encoder it keeps what ``encoders``
            leaves.
        encoders: ``shared``: the backbone's encoder for every modality, whose instance normalisations get parameters of
            each modality and keep their initial values. ``separate`` and ``slim``: those of ``branches``.
            ``shared_specific``: the backbone's, for every modality alike, beside those of ``branches``, whose deepest
            level joins its.
        branches: J backbones whose encoders take the place of the backbone's.
        feature_fusion: of ``network_choices.FEATURE_FUSIONS`` (see ``fusion``).
        bottleneck: attention between the modalities' deepest levels before they are fused (see ``bottleneck``).
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
        bottleneck: nn.Module | None = None,
        presence_conditioning: bool = False,
    ) -> None:
        super().__init__(channel_encoder, backbone)
        if encoders not in ENCODERS:
            raise ValueError(f"encoders must be one of {', '.join(ENCODERS)}, got {encoders!r}.")
        if len(branches) != (0 if encoders == "shared" else self.num_modalities):
            raise ValueError(f"encoders {encoders!r} has no use for {len(branches)} branches.")
        sizes = SizesOfEncoder(tuple(self.encoder.output_channels), tuple(self.encoder.strides))
        self.specific: ModalityEncoders | None = None
        self.modality: Condition | None = None
        if encoders == "shared_specific":
            # The backbone's own encoder is the shared one, with the same normalisation for all modalities.
            self.specific = ModalityEncoders([branch.encoder for branch in branches], sizes.output_channels)
            widths = sizes.output_channels
        elif encoders == "shared":
            self.modality = use_modality_norms(self.encoder, self.num_modalities)
            widths = sizes.output_channels
        else:
            backbone.encoder = ModalityEncoders([branch.encoder for branch in branches], sizes.output_channels)
            widths = backbone.encoder.branch_channels
            # nnU-Net's decoder holds the encoder that it was built for.
            del backbone.decoder.encoder
            backbone.decoder.encoder = sizes
        if encoders == "shared_specific":
            bottleneck = SharedSpecificBottleneck(widths[-1], self.encoder.conv_op)
        self.encoders = encoders
        self.branch_channels = tuple(widths)
        self.bottleneck = bottleneck
        self.condition: Condition | None = None
        if presence_conditioning:
            # Of its stages alone: nnU-Net's decoder holds the shared encoder, too.
            self.condition = use_presence_norms(self.decoder.stages, self.num_modalities)
        self.fusions = nn.ModuleList(
            self._build_fusion(feature_fusion, level, width, channels)
            for level, (width, channels) in enumerate(zip(widths, sizes.output_channels, strict=True))
        )
        self.fuses_by_regions = feature_fusion == "region_aware"
        self.upsampled: torch.Tensor | None = None
        if self.fuses_by_regions:
            for upsampling in self.decoder.transpconvs:
                upsampling.register_forward_hook(self._note_upsampled)
        use_cpu_convolutions(self)
        joined = [
            channels if isinstance(fusion, ConcatenateFusion) and fusion.joins else None
            for fusion, channels in zip(self.fusions, sizes.output_channels, strict=True)
        ]
        self.kept_channels = use_kept_channels(self.decoder, self.num_modalities, joined)

    def _build_fusion(self, name: str, level: int, width: int, channels: int) -> nn.Module:
        sizes = (width, self.num_modalities, self.encoder.conv_op)
        if name == "gaussian_product":
            return GaussianProductFusion(*sizes, channels)
        if name == "region_aware":
            decoded = 0 if level == len(self.branch_channels) - 1 else channels
            return RegionAwareFusion(
                *sizes, channels, num_outputs=int(self.decoder.num_classes), decoded_channels=decoded
            )
        return build_fusion(name, *sizes, out_channels=channels)

    def _note_upsampled(self, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        self.upsampled = output

    @property
    def decoder_design(self) -> DecoderDesign:
        """How the decoder is built, for one modality's levels."""
        one = self.encoder if self.encoders.startswith("shared") else self.encoder.encoders[0]
        return design_of(self.decoder, one, self.branch_channels)

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
        in_pairs = self.encoders.startswith("shared")
        images, extra, present, kept, pairs = self._take_input(x, present, in_pairs=in_pairs)
        separately, latents = self._encode(images, extra, present, pairs)
        if kept is None:
            kept = separately.encoded if separately.told is None else separately.told
        logits, fused, separately = self.fuse_and_decode(separately, kept)
        if return_features or self.returns_in_training("features"):
            return logits, Features(latents, kept.to(x.device, non_blocking=True), fused, separately)
        return logits

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Separately:
        """Return what the encoders make of each modality; by default ``present`` is read from the marks in ``x``."""
        images, extra, present = self.split_input(x, present)
        pairs = find_pairs(present, x.device) if self.encoders.startswith("shared") else None
        return self._encode(images, extra, present, pairs)[0]

    def _encode(
        self, images: torch.Tensor, extra: torch.Tensor, present: torch.Tensor, pairs: Pairs | None
    ) -> tuple[Separately, torch.Tensor]:
        """Return the modalities' features, and the latents (B, J, C, *spatial)."""
        told = present if present.device.type == "cpu" else None
        if pairs is not None:
            latents = self.channel_encoder.encode_pairs(images, pairs)
            rows = self.append_extra_channels(latents, extra.index_select(0, pairs.sample))  # (N, C + E, *spatial)
            with nullcontext() if self.modality is None else self.modality.set(pairs.modality):
                levels: list[torch.Tensor] = self.encoder(rows)
            specific = None
            if self.specific is not None:
                specific = self.specific(pairs.scatter(rows), present)[-1]
            by_modality = [pairs.scatter(level) for level in levels]
            separately = Separately(by_modality, pairs.present, specific=specific, images=images, told=told)
            return separately, pairs.scatter(latents)
        on_device = present.to(images.device, non_blocking=True)
        latents = self.channel_encoder(images, on_device)
        every = extra.unsqueeze(1).expand(-1, self.num_modalities, *extra.shape[1:]).to(latents.dtype)
        rows = torch.cat([latents, every], dim=2) if extra.shape[1] else latents
        return Separately(self.encoder(rows, present), on_device, images=images, told=told), latents

    def fuse_and_decode(
        self, separately: Separately, kept: torch.Tensor
    ) -> tuple[Logits, list[torch.Tensor], Separately]:
        """Return the logits, the levels (B, C_k, *spatial_k) that the decoder got, and what fusing found on the way.

        Args:
            separately: of ``encode``.
            kept: (B, J) bool, the modalities to use. If it is on the CPU, no GPU is waited for.
        """
        left_out = self._without_zeros(kept)
        kept = kept.to(separately.encoded.device, non_blocking=True)
        deepest, of_them = self._attended(separately, kept)
        bottleneck = None if self.bottleneck is None else deepest
        fusing = _Fusing(self, [*separately.levels[:-1], deepest], kept, of_them)
        condition = nullcontext() if self.condition is None else self.condition.set(kept)
        with condition, left_out:
            logits: Logits = self.decoder(fusing if self.fuses_by_regions else fusing.everything())
        self.upsampled = None
        return logits, fusing.everything(), fusing.found_in(separately._replace(bottleneck=bottleneck))

    def _without_zeros(self, kept: torch.Tensor) -> AbstractContextManager[None]:
        """Return what lets a prediction's decoder leave out the zeros in the skips of modalities that no sample keeps.

        Not in training, where the sizes of a compiled graph do not depend on the subsets.
        """
        if not self.kept_channels.has_any or self.training or torch.compiler.is_compiling():
            return nullcontext()
        used = kept.any(0).tolist()
        if all(used) or not any(used):
            return nullcontext()
        return self.kept_channels.set([modality for modality, is_used in enumerate(used) if is_used])

    def fuse_deepest(self, separately: Separately, kept: torch.Tensor) -> torch.Tensor:
        """Return the deepest level (B, C, *grid) that the decoder gets; arguments as of ``fuse_and_decode``."""
        deepest, of_them = self._attended(separately, kept)
        fused: torch.Tensor = _Fusing(self, [*separately.levels[:-1], deepest], kept, of_them)[-1]
        return fused

    def encoder_features(self, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the fused levels, for which only fusion by regions runs the decoder; arguments as of ``encode``."""
        separately = self.encode(x, present)
        kept = separately.encoded
        if self.fuses_by_regions:
            return self.fuse_and_decode(separately, kept)[1]
        deepest, of_them = self._attended(separately, kept)
        return _Fusing(self, [*separately.levels[:-1], deepest], kept, of_them).everything()

    def _attended(self, separately: Separately, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the deepest level (B, J, c, *grid) as it is fused, and the modalities of it that are."""
        deepest = separately.levels[-1]
        if self.bottleneck is None:
            return deepest, kept
        given = (deepest,) if separately.specific is None else (deepest, separately.specific)
        attended: tuple[torch.Tensor, torch.Tensor] = self.bottleneck(*given, kept)
        return attended

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs of the channel encoder, J encoders, the fusions and the decoder."""
        runs = self.num_modalities if self.encoders.startswith("shared") else 1
        outputs = self.channel_encoder.compute_conv_feature_map_size(input_size)
        outputs += runs * int(self.encoder.compute_conv_feature_map_size(input_size))
        outputs += int(self.decoder.compute_conv_feature_map_size(input_size))
        if self.specific is not None:
            outputs += self.specific.compute_conv_feature_map_size(input_size)
            grid = np.array(input_size) // np.prod(np.array(self.encoder.strides), axis=0)
            outputs += count_outputs(self.num_modalities * self.branch_channels[-1], grid.tolist())
        size = list(input_size)
        fusion: Any
        for level, fusion in enumerate(self.fusions):
            size = [length // stride for length, stride in zip(size, self.encoder.strides[level], strict=True)]
            outputs += count_outputs(fusion.outputs_per_voxel(), size)
        return outputs
