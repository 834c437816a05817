"""The teacher of PMKL behind MedMAP's channel encoder (Liu et al., MedMAP; placed as in Eq. 16, not as in Eq. 14)."""

from nnunet_missingmod.trainers.families.nnUNetTrainerPMKLTeacher import nnUNetTrainerPMKLTeacher


class nnUNetTrainerPMKLMedMAPTeacher(nnUNetTrainerPMKLTeacher):
    """Train nnUNetTrainerPMKLTeacher on latents of MedMAP's shared channel encoder, aligned to a learned mixture.

    Differs from MedMAP: encoder j takes the latents of modality j alone, as Eq. 16 has it for mmFormer; Eq. 14 and
    figure 3a put all latents side by side before the teacher's ordinary backbone. Differs from PMKL as
    nnUNetTrainerPMKLTeacher does.
    """

    channel_encoder = "shared"
    alignment_anchor = "mixture"
