"""PMKL: distillation where the teacher is right and better, and contrast of cases (Chen et al., TMI 2021)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerPMKL(MethodTrainer):
    """Teach nnU-Net's own network from complete cases, where the teacher is right and better, and by contrast of cases.

    Differs from PMKL: one student for every subset, where there each modality has one (`"modality_subset"` fixes one
    here too); nnU-Net's backbone, loss and training; features are averaged to 2 voxels an axis before they are
    contrasted.
    """

    network = "stock"
    gated_distillation = True
    contrastive = True
    teacher = "nnUNetTrainerPMKLTeacher"
    modality_dropout = "uniform"
    validation_subsets = "cycle"
