"""MTI as Cheng et al. (Robust Divergence Learning) describe it; its text could not be had (Ting and Liu, JBHI 2024)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerMTI(MethodTrainer):
    """Complete the features of incomplete cases, by separate encoders and one decoder, from those of complete ones.

    After a description, not after the paper: modality-specific encoders, a shared decoder, and incomplete data
    completed from complete data. Attention makes up the bottleneck of modalities that are missing, and by mutual
    information the encoder's features predict those that the network's own average has of the complete case.
    """

    network = "modality_encoders"
    encoders = "separate"
    feature_fusion = "concatenate"
    bottleneck = "reconstruction"
    mutual_information = "teacher"
    teacher = "average"
    modality_dropout = "uniform"
    validation_subsets = "cycle"
