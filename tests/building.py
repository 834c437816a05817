"""Networks and loss terms as trainers build them, from choices, on small plans without a dataset."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.plans_block import resolve, with_numbers
from nnunet_missingmod.training.building import build_network, build_terms

NAMES = ("FLAIR", "T1", "T2")
FEATURES = (4, 6, 8)
SIZE = 8


def choices_of(trainer: str) -> dict[str, Any]:
    """Return the resolved choices of a trainer's class."""
    kind = getattr(import_module(CLASS_TABLE[trainer]), trainer)
    return with_numbers(resolve(None, kind._own_choices()), NAMES)


def build(
    choices: dict[str, Any],
    *,
    num_outputs: int = 2,
    extra: int = 0,
    deep_supervision: bool = True,
    architecture: dict[str, Any] | None = None,
) -> nn.Module:
    """Return the network that the choices describe, of three levels in 2D, for three modalities."""
    architecture = architecture or {
        "network_class_name": f"{PlainConvUNet.__module__}.{PlainConvUNet.__name__}",
        "arch_kwargs": {
            "n_stages": 3, "features_per_stage": list(FEATURES), "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]], "n_conv_per_stage": [1] * 3,
            "n_conv_per_stage_decoder": [1] * 2, "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d", "norm_op_kwargs": {"affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    configuration = {
        "architecture": architecture,
        "patch_size": [SIZE, SIZE],
        "normalization_schemes": ["ZScoreNormalization"] * len(NAMES),
    }
    plans = {"image_reader_writer": "SimpleITKIO", "configurations": {"2d": configuration}}
    return build_network(
        choices,
        PlansManager(plans),
        ConfigurationManager(configuration),
        num_input_channels=len(NAMES) + extra,
        num_output_channels=num_outputs,
        deep_supervision=deep_supervision,
    )


def make_terms(choices: dict[str, Any], network: nn.Module, segmentation: Any, one_resolution: Any) -> Any:
    """Return the terms that the choices turn on, and what the trainer tells them of the network."""
    inner: Any = unwrapped(network)
    setting = Setting(
        NAMES,
        encoder_channels=FEATURES,
        dimensions=2,
        head=Head("softmax"),
        decoder=getattr(inner, "decoder_design", None),
        segmentation=one_resolution,
        supervised=segmentation,
        num_outputs=2,
    )
    partner: Any = build(choices) if choices["partner"] else None
    if partner is not None:
        partner.training_output = "features"
    terms = build_terms(choices, segmentation, setting, partner=partner)
    terms.surgery = choices["gradient_surgery"]
    terms.operated_on = tuple(inner.parameters())
    return terms
