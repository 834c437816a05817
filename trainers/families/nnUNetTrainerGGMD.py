"""GGMD: gradients of all subsets, without what conflicts between them (Wang et al., AAAI 2024)."""

from nnunet_missingmod.trainers.nnUNetTrainerSharedBackbone import nnUNetTrainerSharedBackbone


class nnUNetTrainerGGMD(nnUNetTrainerSharedBackbone):
    """Train the parallel network on all subsets at once, taking out of each one's gradient what conflicts with others'.

    Differs from GGMD: nnU-Net's backbone, loss and training. A step has a backward pass for each subset, 2^J - 1.
    """

    modality_dropout = "none"
    subset_objective = "enumerate"
    gradient_surgery = "parameters"
