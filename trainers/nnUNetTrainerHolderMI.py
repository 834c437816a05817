"""The flagship: MedMAP's network learns every subset of modalities from its full-modality teacher."""

from nnunet_missingmod.trainers.nnUNetTrainerMedMAP import nnUNetTrainerMedMAP


class nnUNetTrainerHolderMI(nnUNetTrainerMedMAP):
    """Train nnUNetTrainerMedMAP with Hölder and mutual-information distillation from a frozen teacher (flagship)."""

    divergence = "holder_proper"
    divergence_target = "teacher"
    mutual_information = "teacher"
