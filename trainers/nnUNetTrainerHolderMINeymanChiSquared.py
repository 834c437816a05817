"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMINeymanChiSquared(nnUNetTrainerHolderMI):
    """The flagship with Neyman's chi^2 in place of Hölder's divergence."""

    divergence = "neyman_chi_squared"
