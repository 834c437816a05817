"""The first stage of M3AE: masked pretraining of nnU-Net's network (Liu et al., AAAI 2023)."""

from nnunet_missingmod.training.masked_pretrainer import MaskedPretrainer


class nnUNetTrainerM3AEPretrain(MaskedPretrainer):
    """Pretraining without labels for nnUNetTrainerM3AE: fill in hidden modalities and cubes.

    Differs from M3AE: a learned constant stands for each missing modality and zeros for hidden cubes, where there a
    template image stands for both, which needs all cases in one space.
    """

    optimizer_kind = "adam"
    initial_lr = 3e-4
    modality_dropout = "uniform_count"
    absent_fill = "learned"
