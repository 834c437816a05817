"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIAnchorNone(nnUNetTrainerHolderMI):
    """The flagship without alignment."""

    alignment_anchor = "none"
