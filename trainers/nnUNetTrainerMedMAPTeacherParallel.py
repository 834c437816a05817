"""The full-modality network that teaches nnUNetTrainerHolderMIParallel."""

from nnunet_missingmod.trainers.nnUNetTrainerMedMAPTeacher import nnUNetTrainerMedMAPTeacher


class nnUNetTrainerMedMAPTeacherParallel(nnUNetTrainerMedMAPTeacher):
    """nnUNetTrainerMedMAPTeacher on the parallel network: the teacher of nnUNetTrainerHolderMIParallel."""

    network = "parallel"
    fused_at = "logits"
