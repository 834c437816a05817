"""nnU-Net v2 plugin for segmentation with missing modalities."""

from nnunet_missingmod._version import __version__

__all__ = ["__version__"]
