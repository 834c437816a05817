"""Ablation of nnUNetTrainerRDL."""

from nnunet_missingmod.trainers.nnUNetTrainerRDL import nnUNetTrainerRDL


class nnUNetTrainerRDLAlpha115(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.15."""

    divergence_alpha = 1.15
