"""The flagship's losses on the parallel network."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIParallel(nnUNetTrainerHolderMI):
    """Train as nnUNetTrainerHolderMI does, with one backbone for every present modality, logits fused by their mean."""

    network = "parallel"
    fused_at = "logits"
    teacher = "nnUNetTrainerMedMAPTeacherParallel"
