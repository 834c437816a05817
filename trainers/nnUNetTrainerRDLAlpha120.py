"""Ablation of nnUNetTrainerRDL."""

from nnunet_missingmod.trainers.nnUNetTrainerRDL import nnUNetTrainerRDL


class nnUNetTrainerRDLAlpha120(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.20."""

    divergence_alpha = 1.2
