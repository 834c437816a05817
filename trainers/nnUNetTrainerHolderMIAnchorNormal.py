"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIAnchorNormal(nnUNetTrainerHolderMI):
    """The flagship, aligned to the standard normal distribution instead of a mixture."""

    alignment_anchor = "normal"
