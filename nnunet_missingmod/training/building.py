"""The network and the loss terms that a training's choices describe, around the backbone that nnU-Net's plans name."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from typing import Any

import numpy as np
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_missingmod.choices import TERMS
from nnunet_missingmod.keys import OFF, Choices, Term
from nnunet_missingmod.losses.term import Setting, StepTerm
from nnunet_missingmod.network_choices import BEFORE
from nnunet_missingmod.networks.backbone import predict_from_subset
from nnunet_missingmod.networks.bottleneck import build_bottleneck
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder, latent_channels
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.networks.stock import return_features_in_training
from nnunet_missingmod.networks.substitution import (
    SubstitutingEncoder,
    replace_first_convolution,
    slot_width,
)
from nnunet_missingmod.plans_block import BLOCK
from nnunet_missingmod.training.step import SegmentationLoss, StepTerms

SEGMENTATION = "segmentation"


def of_its_subset(network: nn.Module, configuration_manager: ConfigurationManager) -> nn.Module:
    """Make the network predict from the ``modality_subset`` of its training alone, and return it."""
    # The block may be missing or spoilt where one predicts, and stock networks are built of nothing in it.
    block = configuration_manager.configuration.get(BLOCK)
    subset = block.get("modality_subset", "all") if isinstance(block, dict) else "all"
    return predict_from_subset(network, subset, len(configuration_manager.normalization_schemes))


def build_network(
    choices: Choices,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    *,
    num_input_channels: int,
    num_output_channels: int,
    deep_supervision: bool,
) -> nn.Module:
    """Return the network that ``choices`` describe, with nnU-Net's initial weights in its backbone.

    Args:
        choices: the resolved ``"missingmod"`` block.
        plans_manager, configuration_manager: nnU-Net's.
        num_input_channels: J modalities and the channels after them (a previous stage's segmentation).
        num_output_channels: classes or regions.
        deep_supervision: nnU-Net's.

    Raises:
        ValueError: the choices do not go together, or do not fit the backbone.
    """
    choices = {**BEFORE, **choices}
    num_modalities = len(configuration_manager.normalization_schemes)
    kind, width = choices["channel_encoder"], choices["channel_encoder_width"]
    num_extra = num_input_channels - num_modalities
    by_modality = choices["network"] in ("parallel", "modality_encoders")
    # A substituting stage stands in the place of the first convolution, whatever its inputs.
    of_one = 1 if kind == "substituting" else latent_channels(kind, width=width, num_modalities=num_modalities)
    inputs = (1 if by_modality else num_modalities) * of_one

    def build_backbone(configuration: ConfigurationManager = configuration_manager) -> Any:
        return nnUNetTrainer.build_network_architecture(
            plans_manager,
            configuration,
            num_extra + inputs,
            num_output_channels,
            deep_supervision,
        )

    backbone = build_backbone()
    if not (hasattr(backbone, "encoder") and hasattr(backbone, "decoder")):
        raise ValueError(
            f"{type(backbone).__name__} has no encoder and decoder to put modalities in front of: use plans that name "
            "PlainConvUNet or ResidualEncoderUNet."
        )
    if not deep_supervision:
        # nnU-Net builds the outputs of lower levels all the same; several processes would wait for their gradients.
        for unused in getattr(backbone.decoder, "seg_layers", [])[:-1]:
            unused.requires_grad_(False)
    if choices["network"] == "stock":
        return return_features_in_training(backbone, num_modalities)
    conditioning = {key: choices[key] for key in ("presence_conditioning", "presence_convolutions")}
    kernel_size = configuration_manager.network_arch_init_kwargs["kernel_sizes"][0]
    if kind == "substituting":
        substituting = SubstitutingEncoder(
            num_modalities,
            width=slot_width(backbone.encoder, num_modalities),
            kernel_size=kernel_size,
            conv_op=backbone.encoder.conv_op,
            order=None if choices["substitution"] == "learned" else choices["substitution"],
        )
        replace_first_convolution(backbone.encoder, substituting, num_extra)
        return EarlyFusionNetwork(substituting, backbone, **conditioning)
    channel_encoder = ChannelEncoder(
        num_modalities,
        kind,
        width=width,
        kernel_size=kernel_size,
        conv_op=backbone.encoder.conv_op,
        absent_fill=choices["absent_fill"],
    )
    if choices["network"] == "parallel" and choices["fused_at"] == "logits":
        return ParallelNetwork(channel_encoder, backbone)
    if by_modality:
        # The parallel network has the shared encoder, whatever a trainer says of modality encoders.
        encoders, branches = choices["encoders"] if choices["network"] == "modality_encoders" else "shared", []
        if encoders != "shared":
            slim = slimmed(configuration_manager, num_modalities) if encoders == "slim" else configuration_manager
            branches = [build_backbone(slim) for _ in range(num_modalities)]
        attention = None
        if choices["bottleneck"] != OFF:
            encoder = (branches[0] if branches else backbone).encoder
            strides = np.prod(np.array(encoder.strides), axis=0)
            grid = [int(size) for size in np.array(configuration_manager.patch_size) // strides]
            attention = build_bottleneck(choices["bottleneck"], int(encoder.output_channels[-1]), num_modalities, grid)
        return ModalityEncoderNetwork(
            channel_encoder,
            backbone,
            encoders=encoders,
            branches=branches,
            feature_fusion=choices["feature_fusion"],
            bottleneck=attention,
            presence_conditioning=choices["presence_conditioning"],
        )
    return EarlyFusionNetwork(channel_encoder, backbone, **conditioning)


def slimmed(configuration_manager: ConfigurationManager, num_modalities: int) -> ConfigurationManager:
    """Return the configuration with ceil(C_l / J) channels at level l in place of C_l."""
    configuration = deepcopy(configuration_manager.configuration)
    arguments = configuration["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [-(-width // num_modalities) for width in arguments["features_per_stage"]]
    return ConfigurationManager(configuration)


def terms_in_use(choices: Choices) -> list[Term]:
    """Return the terms beside the segmentation's that ``choices`` turn on, in the order of ``choices.TERMS``."""
    return [term for term in TERMS if term.is_on(choices)]


def taught_terms(choices: Choices) -> list[str]:
    """Return the names of the terms that learn from a frozen teacher; none if there is no need of one."""
    return [term.name for term in terms_in_use(choices) if term.has_teacher(choices)]


def term_weights(choices: Choices) -> dict[str, float]:
    """Return the weight of each term in use, the segmentation's (1) among them, after warm-up."""
    return {SEGMENTATION: 1.0, **{term.name: float(choices[term.weight]) for term in terms_in_use(choices)}}


def build_terms(
    choices: Choices, segmentation: SegmentationLoss, setting: Setting, *, partner: nn.Module | None = None
) -> StepTerms:
    """Return the terms that ``choices`` turn on, with their weights.

    Args:
        choices: the resolved ``"missingmod"`` block.
        segmentation: nnU-Net's loss.
        setting: what the terms are built for.
        partner: the network that learns beside the one that predicts.

    Raises:
        ValueError: a choice is out of its range, or does not fit the network.
    """
    terms: Mapping[str, StepTerm] = {
        term.name: _class_of(term).from_choices(choices, setting) for term in terms_in_use(choices)
    }
    return StepTerms(segmentation, terms, weights=term_weights(choices), head=setting.head, partner=partner)


def _class_of(term: Term) -> type[StepTerm]:
    module, name = term.loss.split(":")
    found: Any = getattr(import_module(f"nnunet_missingmod.losses.{module}"), name)
    assert issubclass(found, StepTerm)
    return found
