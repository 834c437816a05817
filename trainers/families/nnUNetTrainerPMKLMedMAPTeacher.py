"""The teacher of PMKL behind MedMAP's channel encoder (Liu et al., MedMAP, Eq. 14 and figure 3a)."""

from nnunet_missingmod.trainers.families.nnUNetTrainerPMKLTeacher import nnUNetTrainerPMKLTeacher


class nnUNetTrainerPMKLMedMAPTeacher(nnUNetTrainerPMKLTeacher):
    """Train nnUNetTrainerPMKLTeacher on latents of MedMAP's shared channel encoder, aligned to a learned mixture."""

    channel_encoder = "shared"
    alignment_anchor = "mixture"
