"""mmFormer: attention between the modalities at the bottleneck (Zhang et al., MICCAI 2022)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerMMFormer(MethodTrainer):
    """Let separate encoders attend to each other at the bottleneck, and segment from each modality alone as well.

    Differs from mmFormer: nnU-Net's backbone, loss and training; tokens have the channels of their level and no
    dropout; absent tokens are no keys; the attention's output is put back in its order.
    """

    network = "modality_encoders"
    encoders = "separate"
    feature_fusion = "concatenate"
    bottleneck = "tokens"
    auxiliary = "unimodal"
    modality_dropout = "uniform"
    validation_subsets = "cycle"
