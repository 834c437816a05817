"""What the networks of the menu cost on nnU-Net's own plan for BraTS: parameters, and multiplications of convolutions.

    python benchmarks/family_costs.py [--markdown]

The plan is nnU-Net's 3D one: 128^3 voxels, widths 32-64-128-256-320-320, two convolutions a stage, four modalities and
classes. Nothing is computed: networks are built without memory, and multiplications are counted as they pass. A step of
training is counted as the forward passes of the network and of what learns beside it, a prediction as that with
all modalities. A frozen teacher's forward pass comes on top. ``step_memory.py`` counts the memory of a step, teachers
included. Stock nnU-Net is 1.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from models import MEMORY_TARGET, dataset_without_images, make_plans
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from step_memory import OF_OTHER_PLANS, REFERENCE, STOCK, on_meta, peak_of_a_step
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from nnunet_missingmod import absence
from nnunet_missingmod.choices import PRETRAINERS, TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.losses.auxiliary import UnimodalTerm
from nnunet_missingmod.losses.image_reconstruction import ImageReconstructionTerm
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.networks.multimodal import tell_present
from nnunet_missingmod.plans_block import resolve, with_numbers
from nnunet_missingmod.training.building import build_network, build_terms
from nnunet_missingmod.training.method_trainer import MethodTrainer

NAMES = ("FLAIR", "T1", "T1ce", "T2")
WIDTHS = (32, 64, 128, 256, 320, 320)
SIZE = (128, 128, 128)
CLASSES = 4


class Cost(NamedTuple):
    """Parameters that predict, and multiplications of a training step's forward passes and of a prediction."""

    parameters: int
    training: float
    prediction: float


def plan() -> tuple[PlansManager, ConfigurationManager]:
    """Return nnU-Net's plan for BraTS."""
    strides = [[1, 1, 1], *[[2, 2, 2]] * 5]
    architecture = {
        "network_class_name": f"{PlainConvUNet.__module__}.{PlainConvUNet.__name__}",
        "arch_kwargs": {
            "n_stages": 6,
            "features_per_stage": list(WIDTHS),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * 6,
            "strides": strides,
            "n_conv_per_stage": [2] * 6,
            "n_conv_per_stage_decoder": [2] * 5,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "architecture": architecture,
        "patch_size": list(SIZE),
        "normalization_schemes": ["ZScoreNormalization"] * len(NAMES),
    }
    plans = {"image_reader_writer": "SimpleITKIO", "configurations": {"3d_fullres": configuration}}
    return PlansManager(plans), ConfigurationManager(configuration)


def count(module: nn.Module, run: Any) -> float:
    """Return the multiplications of all convolutions below ``module`` while ``run()`` runs."""
    total = 0.0

    def add(layer: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        nonlocal total
        kernel = layer.weight[0, 0].numel()
        if isinstance(layer, _ConvTransposeNd):
            total += inputs[0].numel() * kernel * layer.out_channels / layer.groups
        else:
            total += output.numel() * kernel * layer.in_channels / layer.groups

    handles = [layer.register_forward_hook(add) for layer in module.modules() if isinstance(layer, _ConvNd)]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return total


def stock_cost() -> Cost:
    """Return the cost of stock nnU-Net."""
    plans, configuration = plan()
    with torch.device("meta"):
        network = nnUNetTrainer.build_network_architecture(plans, configuration, len(NAMES), CLASSES, True)
        x = torch.empty(1, len(NAMES), *SIZE)
    number = sum(parameter.numel() for parameter in network.parameters())
    once = count(network, lambda: network(x))
    return Cost(number, once, once)


def choices_of(name: str, **block: Any) -> dict[str, Any]:
    """Return the resolved choices of a trainer's class, with more of a block."""
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    return with_numbers(resolve(block, kind._own_choices()), NAMES)


def cost(choices: dict[str, Any]) -> Cost:
    """Return the cost of the network that choices describe, and of what learns beside it."""
    plans, configuration = plan()
    sizes = {"num_input_channels": len(NAMES), "num_output_channels": CLASSES, "deep_supervision": True}
    present = torch.ones(1, len(NAMES), dtype=torch.bool)
    with torch.device("meta"):
        network: Any = build_network(choices, plans, configuration, **sizes)
        partner: Any = build_network(choices, plans, configuration, **sizes) if choices["partner"] else None
        setting = Setting(
            NAMES,
            encoder_channels=WIDTHS,
            dimensions=3,
            head=Head("softmax"),
            decoder=getattr(network, "decoder_design", None),
            num_outputs=CLASSES,
            segmentation=lambda logits, target: logits.sum(),
            supervised=lambda logits, target: logits[0].sum(),
        )
        terms = build_terms(choices, setting.supervised, setting, partner=partner)  # type: ignore[arg-type]
        x = torch.empty(1, len(NAMES), *SIZE)

    def forward(of: Any, *, features: bool = False) -> Any:
        tell_present(of, present)
        stock = choices["network"] == "stock"
        return (
            of(x)
            if stock
            else of(x, present.to("meta") if choices["network"] == "early" else present, return_features=features)
        )

    with presence_of_meta():
        once = count(network, lambda: forward(network))
        training = once * (1 if partner is None else 2)
        if choices["network"] == "modality_encoders":
            _, features = forward(network, features=True)
            for term in terms.children():
                if isinstance(term, UnimodalTerm):
                    levels = [level.flatten(0, 1) for level in features.separately.levels[term.level :]]
                    training += count(term, lambda term=term, levels=levels: term.decoder(levels))
                elif isinstance(term, ImageReconstructionTerm):
                    levels = list(features.encoder)
                    training += count(
                        term, lambda term=term, levels=levels: [decoder(levels) for decoder in term.decoders]
                    )
    number = sum(parameter.numel() for parameter in network.parameters())
    return Cost(number, training, once)


def memory_of_steps(names: Sequence[str]) -> dict[str, float]:
    """Return what a step of each trainer holds at most on stock plans, in relation to stock nnU-Net's."""
    with dataset_without_images() as preprocessed, on_meta() as mixed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plans = make_plans(STOCK, preprocessed, memory_target_gb=MEMORY_TARGET["cuda"])
        stock = peak_of_a_step(REFERENCE, plans, mixed)
        return {
            name: peak_of_a_step(name, plans, mixed).held / stock.held for name in names if name not in OF_OTHER_PLANS
        }


@contextmanager
def presence_of_meta() -> Iterator[None]:
    """Inside, what has no values is taken to be present, and autocast can be switched off for it."""
    ones = patch.object(absence, "read", lambda batch: torch.ones(batch.shape[:2], dtype=torch.bool, device="meta"))
    with on_meta(), ones, patch.object(absence, "fill", lambda batch, value=0.0: batch):
        yield


def main(argv: list[str] | None = None) -> int:
    """Print a row for each trainer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args(argv)
    stock = stock_cost()
    rows = [("stock nnU-Net", Cost(stock.parameters, 1.0, 1.0))]
    memory = {rows[0][0]: 1.0} | memory_of_steps(
        [name for group in ("Methods", "Families") for name in TRAINERS[group][1]]
    )
    for group in ("Methods", "Families"):
        for name in TRAINERS[group][1]:
            kind = getattr(import_module(CLASS_TABLE[name]), name)
            if name in PRETRAINERS or not issubclass(kind, MethodTrainer) or name == "nnUNetTrainerRDLReference":
                continue
            choices = choices_of(name)
            found = cost(choices)
            rows.append(
                (name, Cost(found.parameters, found.training / stock.training, found.prediction / stock.prediction))
            )
    for name, found in rows:
        ratios = (found.training, found.prediction, memory[name])
        numbers = (f"{found.parameters / 1e6:.1f} M", *(f"{ratio:.2f}" for ratio in ratios))
        sys.stdout.write(
            f"| {name} | {' | '.join(numbers)} |\n" if args.markdown else f"{name:40}{'  '.join(numbers)}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
