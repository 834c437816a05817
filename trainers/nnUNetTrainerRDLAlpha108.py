"""Ablation of nnUNetTrainerRDL."""

from nnunet_missingmod.trainers.nnUNetTrainerRDL import nnUNetTrainerRDL


class nnUNetTrainerRDLAlpha108(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.08."""

    divergence_alpha = 1.08
