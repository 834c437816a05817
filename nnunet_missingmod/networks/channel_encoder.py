"""Channel encoder: turns each modality's image into a latent of its own, before the backbone combines modalities.

It is one convolution T per modality (``separate``), or one for all modalities (``shared``, T* of the paper). It also
removes absent modalities from the computation. It replaces their images before the convolution, so that no NaN enters
arithmetic, and their latents after it, so that neither weights nor bias get a gradient from them.

Source: Liu et al., MedMAP: Promoting Incomplete Multi-modal Brain Tumor Segmentation with Alignment.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.network_choices import ABSENT_FILLS, LATENT_ENCODERS
from nnunet_missingmod.networks.backbone import ConvOp, count_outputs
from nnunet_missingmod.networks.branches import Pairs


class ChannelEncoder(nn.Module):
    """z_j = T_j(x_j): images (B, J, *spatial) to latents (B, J, C, *spatial) of the same spatial size.

    ========== ============================ ===============
    kind       T_j                          C
    ========== ============================ ===============
    none       identity                     1
    separate   one convolution a modality   width
    shared     one convolution for all      J * width
    ========== ============================ ===============

    The shared kind has J * width channels, as many as all separate encoders together. There is no non-linearity: the
    backbone starts with its own convolution and normalisation.

    Args:
        num_modalities: J.
        kind: one of ``network_choices.LATENT_ENCODERS``.
        width: see the table; must be 1 for ``none``.
        kernel_size: odd, per axis or one for all. The default 3 is the smallest that covers a neighbourhood. Plans for
            thick slices start with a kernel of (1, 3, 3); use the same here.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, the same as the backbone's.
        absent_fill: the latent of an absent modality: ``zero``, or ``learned``, a constant per modality and latent
            channel that starts at zero.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        num_modalities: int,
        kind: str,
        *,
        width: int = 1,
        kernel_size: int | Sequence[int] = 3,
        conv_op: ConvOp = nn.Conv3d,
        absent_fill: str = "zero",
    ) -> None:
        super().__init__()
        if kind not in LATENT_ENCODERS:
            raise ValueError(f"Channel encoder must be one of {', '.join(LATENT_ENCODERS)}, got {kind!r}.")
        if absent_fill not in ABSENT_FILLS:
            raise ValueError(f"absent_fill must be one of {', '.join(ABSENT_FILLS)}, got {absent_fill!r}.")
        if num_modalities < 1:
            raise ValueError(f"A channel encoder needs one modality or more, got {num_modalities}.")
        if width < 1 or (kind == "none" and width != 1):
            raise ValueError(f"Width must be 1 or more, and 1 for the kind none, got {width} for {kind}.")
        kernel = [kernel_size] if isinstance(kernel_size, int) else [int(size) for size in kernel_size]
        if any(size < 1 or size % 2 == 0 for size in kernel):
            raise ValueError(f"kernel_size must be odd so that latents keep the size of the image, got {kernel_size}.")
        self.num_modalities = num_modalities
        self.kind = kind
        self.absent_fill = absent_fill
        self.out_channels = latent_channels(kind, width=width, num_modalities=num_modalities)
        # The separate encoders are the groups of one convolution. That needs one kernel launch only, and its parameter
        # takes part in every step, whichever modalities are present, as distributed training requires.
        groups = num_modalities if kind == "separate" else 1
        self.conv = (
            None
            if kind == "none"
            else conv_op(
                groups,
                groups * self.out_channels,
                tuple(kernel) if len(kernel) > 1 else kernel[0],
                padding="same",
                groups=groups,
            )
        )
        self.absent_latent = (
            nn.Parameter(torch.zeros(num_modalities, self.out_channels)) if absent_fill == "learned" else None
        )

    def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return latents (B, J, C, *spatial).

        Args:
            images: (B, J, *spatial); the values of absent channels are not used.
            present: (B, J) bool on the same device.
        """
        spatial = images.shape[2:]
        is_present = over_voxels(present, images)
        images = torch.where(is_present, images, 0.0)
        if self.conv is None:
            encoded = images
        elif self.kind == "shared":
            encoded = self.conv(images.reshape(-1, 1, *spatial))  # (B * J, C, *spatial)
        else:
            encoded = self.conv(images)  # (B, J * C, *spatial)
        latents = encoded.reshape(*present.shape, self.out_channels, *spatial)  # (B, J, C, *spatial)
        if self.absent_latent is None:
            return torch.where(is_present.unsqueeze(2), latents, 0.0)
        constant = self.absent_latent.to(latents.dtype).reshape(1, *self.absent_latent.shape, *[1] * len(spatial))
        return torch.where(is_present.unsqueeze(2), latents, constant)

    def encode_pairs(self, images: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        """Return the latents (N, C, *spatial) of the N present (sample, modality) pairs.

        Args:
            images: (B, J, *spatial); the values of absent channels are not used.
            pairs: the pairs of this batch.
        """
        if self.kind == "separate":  # one grouped convolution computes all modalities
            return pairs.gather(self(images, pairs.present))
        if pairs.is_placeholder:
            images = torch.zeros_like(images)
        rows = pairs.gather(images.unsqueeze(2))  # (N, 1, *spatial)
        encoded: torch.Tensor = rows if self.conv is None else self.conv(rows)
        return encoded

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs for one complete sample of size ``input_size``."""
        return 0 if self.conv is None else count_outputs(self.num_modalities * self.out_channels, input_size)


def latent_channels(kind: str, *, width: int, num_modalities: int) -> int:
    """Return C, the number of channels of each modality's latent, by the table in `ChannelEncoder`."""
    return {"none": 1, "separate": width, "shared": num_modalities * width}[kind]
