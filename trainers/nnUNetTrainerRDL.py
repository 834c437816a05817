"""Robust Divergence Learning as published: no teacher, all subsets in every step."""

from nnunet_missingmod.trainers.nnUNetTrainerSharedBackbone import nnUNetTrainerSharedBackbone


class nnUNetTrainerRDL(nnUNetTrainerSharedBackbone):
    """Train the parallel network on all subsets at once, with Hölder divergence to the labels and its own full path."""

    modality_dropout = "none"
    subset_objective = "enumerate"
    divergence = "holder_pseudo"
    divergence_target = "label"
    divergence_alpha = 1.1
    mutual_information = "self"
