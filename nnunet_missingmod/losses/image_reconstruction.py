"""Reconstruction of every modality's image from the fused features, by decoders that prediction does not know.

Source: Dorent et al., U-HVED, MICCAI 2019, section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.losses.reduction import autocast_off, weighted_mean
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def image_reconstruction_loss(reconstructed: Tensor, images: Tensor, encoded: Tensor) -> Tensor:
    """Return the mean squared error over the voxels of the images that the samples have.

    Args:
        reconstructed, images: (B, J, *spatial).
        encoded: (B, J) bool; the images of the others are not used.
    """
    counts = over_voxels(encoded, images)
    squared = (reconstructed - torch.where(counts, images, 0.0)).square()
    return weighted_mean(squared, counts)


class ImageReconstructionTerm(nn.Module, StepTerm):
    """`image_reconstruction_loss` of a decoder for each modality, dropped ones included.

    Args:
        decoders: J of them, each from the fused levels to one channel.
    """

    uses_dropped = True

    def __init__(self, decoders: list[nn.Module]) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(decoders)

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> ImageReconstructionTerm:
        """Return the term with new decoders."""
        assert setting.decoder is not None
        design = setting.decoder._replace(channels=setting.encoder_channels)
        return cls([design.build(num_outputs=1) for _ in setting.modality_names])

    def of_step(self, step: Step) -> Tensor:
        """Return the error of all images."""
        separately = step.separately
        assert separately is not None
        assert separately.images is not None
        levels = list(step.fused)
        reconstructed = torch.cat([decoder(levels) for decoder in self.decoders], dim=1)
        with autocast_off(reconstructed):
            images = separately.images.float()
            return image_reconstruction_loss(reconstructed.float(), images, separately.encoded)
