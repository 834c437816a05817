"""Masked pretraining of the network that nnUNetTrainerHolderMISelf trains."""

from nnunet_missingmod.training.masked_pretrainer import MaskedPretrainer


class nnUNetTrainerMaskedPretraining(MaskedPretrainer):
    """Pretraining without labels: the network of nnUNetTrainerHolderMISelf fills in hidden modalities and cubes.

    By Adam: nnU-Net's SGD learned to fill in nothing in the study of docs/benchmark.md.
    """

    optimizer_kind = "adam"
    initial_lr = 1e-3
    modality_dropout = "uniform_count"
    channel_encoder = "shared"
    presence_conditioning = True
    presence_convolutions = True
