"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIWithoutMI(nnUNetTrainerHolderMI):
    """The flagship without mutual-information distillation."""

    mutual_information = "none"
