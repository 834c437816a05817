"""Ablation of nnUNetTrainerRDL."""

from nnunet_missingmod.trainers.nnUNetTrainerRDL import nnUNetTrainerRDL


class nnUNetTrainerRDLAlpha105(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.05."""

    divergence_alpha = 1.05
