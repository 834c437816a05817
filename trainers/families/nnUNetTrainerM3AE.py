"""The second stage of M3AE: two subsets of each case, with equal features (Liu et al., AAAI 2023)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerM3AE(MethodTrainer):
    """Train on two random subsets of each case at once, with equal features; start from nnUNetTrainerM3AEPretrain.

    Differs from M3AE: nnU-Net's backbone, loss and training; half of the batch's cases are shown twice, so that a step
    of an even batch costs as much as any; features of the bottleneck are compared, as in the paper, where the released
    code compares the coarsest output; a missing modality is a learned constant, where there it is a part of a learned
    image.
    """

    absent_fill = "learned"
    two_subsets = True
    subset_consistency = True
    modality_dropout = "uniform"
    validation_subsets = "cycle"
