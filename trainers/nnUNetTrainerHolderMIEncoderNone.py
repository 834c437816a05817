"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIEncoderNone(nnUNetTrainerHolderMI):
    """The flagship without channel encoder and, its images being fixed, without alignment."""

    channel_encoder = "none"
    initial_weights = "random"
    alignment_anchor = "none"
