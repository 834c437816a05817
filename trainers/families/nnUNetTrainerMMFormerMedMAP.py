"""mmFormer behind MedMAP's channel encoder (Liu et al., MedMAP, Eq. 16 and figure 3c)."""

from nnunet_missingmod.trainers.families.nnUNetTrainerMMFormer import nnUNetTrainerMMFormer


class nnUNetTrainerMMFormerMedMAP(nnUNetTrainerMMFormer):
    """Train nnUNetTrainerMMFormer on latents of MedMAP's shared channel encoder, aligned to a learned mixture.

    As in MedMAP, encoder j takes the latents of modality j alone. Differs from mmFormer as nnUNetTrainerMMFormer does.
    """

    channel_encoder = "shared"
    alignment_anchor = "mixture"
