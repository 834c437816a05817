"""ShaSpec: what modalities share, and what is their own (Wang et al., CVPR 2023)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerShaSpec(MethodTrainer):
    """Give modalities a shared encoder beside their own; the shared features' mean stands in for missing modalities.

    Differs from ShaSpec: nnU-Net's backbone, loss and training; the mean stands in, as in the paper, where the released
    code takes the first modality that is there; absent images pass no encoder; no phase of complete cases comes first
    (`"modality_dropout_from"`).
    """

    network = "modality_encoders"
    encoders = "shared_specific"
    feature_fusion = "concatenate"
    shared_distance = True
    domain_classification = True
    modality_dropout = "uniform_count"
    validation_subsets = "cycle"
