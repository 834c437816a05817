"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIHolderPseudo(nnUNetTrainerHolderMI):
    """The flagship with the improper Hölder pseudo-divergence at the alpha of the paper."""

    divergence = "holder_pseudo"
    divergence_alpha = 1.1
