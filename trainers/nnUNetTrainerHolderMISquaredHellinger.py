"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMISquaredHellinger(nnUNetTrainerHolderMI):
    """The flagship with the squared Hellinger distance in place of Hölder's divergence."""

    divergence = "squared_hellinger"
