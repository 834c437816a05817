"""PMKL with MedMAP's alignment in its teacher (Liu et al., MedMAP, Eq. 14)."""

from nnunet_missingmod.trainers.families.nnUNetTrainerPMKL import nnUNetTrainerPMKL


class nnUNetTrainerPMKLMedMAP(nnUNetTrainerPMKL):
    """Train nnUNetTrainerPMKL with nnUNetTrainerPMKLMedMAPTeacher; whether the student is aligned too is not said.

    Differs from MedMAP as its teacher does, whose encoders take the latents of one modality each; the student has no
    channel encoder. Differs from PMKL as nnUNetTrainerPMKL does.
    """

    teacher = "nnUNetTrainerPMKLMedMAPTeacher"
