"""The full-modality network of MedMAP, which teaches nnUNetTrainerHolderMI."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerMedMAPTeacher(MethodTrainer):
    """Train on all modalities with a shared channel encoder and alignment to a mixture of modalities: the teacher."""

    network = "early"
    channel_encoder = "shared"
    alignment_anchor = "mixture"
    alignment_weight = 0.125
    modality_dropout = "none"
    validation_subsets = "full"
