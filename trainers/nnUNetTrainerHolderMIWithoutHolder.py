"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIWithoutHolder(nnUNetTrainerHolderMI):
    """The flagship without Hölder distillation."""

    divergence = "none"
