"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIJensenShannon(nnUNetTrainerHolderMI):
    """The flagship with the Jensen-Shannon divergence in place of Hölder's divergence."""

    divergence = "jensen_shannon"
