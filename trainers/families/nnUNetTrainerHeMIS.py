"""HeMIS: mean and variance of the modalities' features (Havaei et al., MICCAI 2016; U-HeMIS, Dorent et al. 2019)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerHeMIS(MethodTrainer):
    """Fuse separate encoders by the mean and variance of the present modalities' features.

    Differs from U-HeMIS: nnU-Net's backbone, loss and training; a pointwise convolution reduces mean and variance to
    the channels that nnU-Net's decoder takes.
    """

    network = "modality_encoders"
    encoders = "separate"
    feature_fusion = "moments"
    modality_dropout = "uniform_count"
    validation_subsets = "cycle"
