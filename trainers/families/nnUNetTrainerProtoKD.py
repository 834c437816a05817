"""ProtoKD: distillation of posteriors and of likeness to classes' mean features (Wang et al., ICASSP 2023)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerProtoKD(MethodTrainer):
    """Teach nnU-Net's own network a complete one's posteriors, and how alike voxels are to the classes' prototypes.

    Differs from ProtoKD: one student for every subset, where there each modality has one (`"modality_subset"` fixes one
    here too); nnU-Net's backbone, loss and training. Its weight of 10 is of a mean over classes at temperature 10
    without the square; here a mean over voxels is scaled by the square, which 0.025 makes equal for four classes.
    Prototypes are of the classes that each sample has, where there they are of those that every case of the batch has.
    """

    network = "stock"
    divergence = "kullback_leibler"
    divergence_temperature = 10.0
    divergence_weight = 0.025
    prototype = True
    teacher = "nnUNetTrainerZeroFill"
    modality_dropout = "uniform"
    validation_subsets = "cycle"
