"""Stock nnU-Net trained on complete cases; absent channels are zero after normalisation. The baseline."""

from nnunet_missingmod.training.trainer import MissingModTrainer


class nnUNetTrainerZeroFill(MissingModTrainer):
    """Train as stock nnU-Net does; predict with zeros in place of absent modalities."""

    modality_dropout = "none"
    validation_subsets = "full"
