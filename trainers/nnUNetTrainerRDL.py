"""The objective of Robust Divergence Learning on nnU-Net's backbone: no teacher, all subsets in every step.

What differs from the paper and its released code: the backbone is that of the plans, with instance normalisation in
place of group normalisation and without channel encoders; loss, optimiser, schedule and deep supervision are
nnU-Net's; and the subsets' losses are averaged rather than summed. nnUNetTrainerRDLReference is closer to the original.
"""

from nnunet_missingmod.trainers.nnUNetTrainerSharedBackbone import nnUNetTrainerSharedBackbone


class nnUNetTrainerRDL(nnUNetTrainerSharedBackbone):
    """Train the parallel network on all subsets at once, with Hölder divergence to the labels and its own full path."""

    modality_dropout = "none"
    subset_objective = "enumerate"
    divergence = "holder_pseudo"
    divergence_target = "label"
    divergence_alpha = 1.1
    mutual_information = "self"
