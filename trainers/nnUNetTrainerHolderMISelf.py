"""The flagship's distillation in one training: MedMAP's network learns every subset from its own average."""

from nnunet_missingmod.trainers.nnUNetTrainerMedMAP import nnUNetTrainerMedMAP


class nnUNetTrainerHolderMISelf(nnUNetTrainerMedMAP):
    """nnUNetTrainerMedMAP with presence conditioning, taught by its own moving average, which sees all modalities."""

    presence_conditioning = True
    presence_convolutions = True
    divergence = "holder_proper"
    divergence_target = "teacher"
    mutual_information = "teacher"
    teacher = "average"
