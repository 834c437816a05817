"""Ablation of nnUNetTrainerHolderMI."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI


class nnUNetTrainerHolderMIEncoderSeparate(nnUNetTrainerHolderMI):
    """The flagship with a channel encoder of its own for each modality."""

    channel_encoder = "separate"
    initial_weights = "random"
