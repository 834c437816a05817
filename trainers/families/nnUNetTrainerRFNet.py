"""RFNet: weights of the modalities for each region of the image (Ding et al., ICCV 2021)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerRFNet(MethodTrainer):
    """Fuse separate encoders by regions that the fusion finds, and segment from each modality alone as well.

    Differs from RFNet: nnU-Net's backbone, loss and training; a map for each class or region by a sigmoid, and one for
    what is in none. As there, the fused output has weight 0 for the first fifteenth of the training.
    """

    network = "modality_encoders"
    encoders = "separate"
    feature_fusion = "region_aware"
    auxiliary = "unimodal"
    segmentation_from = 0.0666
    modality_dropout = "uniform"
    validation_subsets = "cycle"
