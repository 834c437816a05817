"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIRandomStart(nnUNetTrainerHolderMI):
    """The flagship from random weights instead of its teacher's."""

    initial_weights = "random"
