"""U-HVED: a product of the modalities' Gaussians, and reconstruction (Dorent et al., MICCAI 2019)."""

from nnunet_missingmod.trainers.families.nnUNetTrainerHeMIS import nnUNetTrainerHeMIS


class nnUNetTrainerUHVED(nnUNetTrainerHeMIS):
    """Fuse separate encoders by a product of Gaussians, and reconstruct every image from a sample of it.

    Differs from U-HVED: nnU-Net's backbone, loss and training; pointwise convolutions make means and variances; a
    prediction takes the mean where the released code takes a sample; divergences are means over a lattice of every
    second voxel, drawn anew in each step, where there they are over all voxels.
    """

    feature_fusion = "gaussian_product"
    image_reconstruction = True
