"""The teacher of PMKL: gated fusion of separate encoders, complete modalities (Chen et al., TMI 2021)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerPMKLTeacher(MethodTrainer):
    """Fuse separate encoders by gates, from complete cases: the teacher of nnUNetTrainerPMKL.

    Differs from PMKL's teacher: nnU-Net's backbone, loss and training, where there it has four levels of 16 to 128
    channels and learns by a weighted cross-entropy and Dice. How it was trained is not in the released code.
    """

    network = "modality_encoders"
    encoders = "separate"
    feature_fusion = "gated"
