"""MedMAP without a teacher: one model for every subset of modalities."""

from nnunet_missingmod.trainers.nnUNetTrainerMedMAPTeacher import nnUNetTrainerMedMAPTeacher


class nnUNetTrainerMedMAP(nnUNetTrainerMedMAPTeacher):
    """Train as nnUNetTrainerMedMAPTeacher does, with random modality dropout."""

    modality_dropout = "uniform"
    validation_subsets = "cycle"
