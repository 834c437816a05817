"""The network of a method's choices, around the backbone that nnU-Net's plans name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork


def build_method_network(
    choices: Mapping[str, Any],
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    *,
    num_input_channels: int,
    num_output_channels: int,
    deep_supervision: bool,
) -> MultimodalNetwork:
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
    num_modalities = len(configuration_manager.normalization_schemes)
    width, kind = choices["channel_encoder_width"], choices["channel_encoder"]
    latent_channels = {"none": 1, "separate": width, "shared": num_modalities * width}[kind]
    is_parallel = choices["network"] == "parallel"
    backbone = nnUNetTrainer.build_network_architecture(
        plans_manager,
        configuration_manager,
        num_input_channels - num_modalities + latent_channels * (1 if is_parallel else num_modalities),
        num_output_channels,
        deep_supervision,
    )
    if not (hasattr(backbone, "encoder") and hasattr(backbone, "decoder")):
        raise ValueError(
            f"{type(backbone).__name__} has no encoder and decoder to put modalities in front of: use plans that name "
            "PlainConvUNet or ResidualEncoderUNet."
        )
    channel_encoder = ChannelEncoder(
        num_modalities,
        kind,
        width=width,
        kernel_size=configuration_manager.network_arch_init_kwargs["kernel_sizes"][0],
        conv_op=backbone.encoder.conv_op,
        absent_fill=choices["absent_fill"],
    )
    if is_parallel:
        return ParallelNetwork(
            channel_encoder, backbone, fused_at=choices["fused_at"], feature_fusion=choices["feature_fusion"]
        )
    return EarlyFusionNetwork(channel_encoder, backbone, presence_conditioning=choices["presence_conditioning"])
