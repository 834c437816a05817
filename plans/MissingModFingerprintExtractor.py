"""The dataset fingerprint, also of training cases that lack modalities."""

from nnunet_missingmod.planning.fingerprint import FingerprintExtractor


class MissingModFingerprintExtractor(FingerprintExtractor):
    """Extract nnU-Net's fingerprint; the intensities of each channel are those of the cases that have it."""
