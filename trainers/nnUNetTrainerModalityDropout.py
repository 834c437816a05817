"""One model for every subset of modalities: each training case is shown a random non-empty subset of what it has."""

from nnunet_missingmod.training.trainer import MissingModTrainer


class nnUNetTrainerModalityDropout(MissingModTrainer):
    """Train with random modality dropout; validate on all subsets in turn."""

    modality_dropout = "uniform"
    validation_subsets = "cycle"
