"""The teacher of PMKL: gated fusion of separate encoders, complete modalities (Chen et al., TMI 2021)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerPMKLTeacher(MethodTrainer):
    """Fuse separate encoders by gates, from complete cases: the teacher of nnUNetTrainerPMKL."""

    network = "modality_encoders"
    encoders = "separate"
    feature_fusion = "gated"
