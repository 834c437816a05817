"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMITotalVariation(nnUNetTrainerHolderMI):
    """The flagship with total variation in place of Hölder's divergence."""

    divergence = "total_variation"
