"""M3FeCon: slim encoders, and the bottleneck of missing modalities made up (Missing as Masking, MICCAI 2024)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerM3FeCon(MethodTrainer):
    """Give each modality a slim encoder, and let attention make up the bottleneck of those that are missing.

    Differs from M3FeCon: every sample has a subset of its own; tokens have the channels of their level and a perceptron
    four times as wide; a missing modality is one learned vector, where there each voxel of it has one.
    """

    network = "modality_encoders"
    encoders = "slim"
    feature_fusion = "concatenate"
    bottleneck = "reconstruction"
    modality_dropout = "uniform"
    validation_subsets = "cycle"
