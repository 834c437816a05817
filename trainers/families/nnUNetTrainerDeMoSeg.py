"""DeMoSeg: modalities whose features stand in for those that are missing (Yang et al., BIBM 2024)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerDeMoSeg(MethodTrainer):
    """Let each modality's first features stand in for missing modalities, by shares that are learned.

    Differs from DeMoSeg: the first convolution is decoupled and not the first two, so that it costs what stock nnU-Net
    does; which modality stands in is learned (`"substitution": "brats"` takes the released list); the divergence of
    each pair is a mean over a lattice of every second voxel, drawn anew in each step, where there it is over all
    voxels; there is no channel shuffle, which as released is not learned.
    """

    channel_encoder = "substituting"
    channel_divergence = True
    modality_dropout = "uniform"
    validation_subsets = "cycle"
