"""RDL's dynamic sharing alone: the parallel network without further loss terms."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerSharedBackbone(MethodTrainer):
    """Train one backbone for every present modality, logits fused by their mean, with random modality dropout."""

    network = "parallel"
    fused_at = "logits"
    modality_dropout = "uniform"
    validation_subsets = "cycle"
