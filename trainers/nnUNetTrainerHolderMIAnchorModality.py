"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIAnchorModality(nnUNetTrainerHolderMI):
    """The flagship, aligned to one modality instead of a mixture."""

    alignment_anchor = "modality"
