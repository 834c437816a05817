"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIKullbackLeibler(nnUNetTrainerHolderMI):
    """The flagship with the Kullback-Leibler divergence in place of Hölder's divergence."""

    divergence = "kullback_leibler"
