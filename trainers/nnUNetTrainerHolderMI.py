"""The flagship: MedMAP's network learns every subset of modalities from its full-modality teacher."""

from nnunet_missingmod.trainers.nnUNetTrainerMedMAP import nnUNetTrainerMedMAP


class nnUNetTrainerHolderMI(nnUNetTrainerMedMAP):
    """The flagship: nnUNetTrainerMedMAP from its teacher's weights, with Hölder and mutual-information distillation."""

    divergence = "holder_proper"
    divergence_target = "teacher"
    mutual_information = "teacher"
    initial_weights = "teacher"
