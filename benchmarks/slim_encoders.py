"""Time each level of slim encoders against the same level of stock nnU-Net's encoder, forward and backward.

    python benchmarks/slim_encoders.py [--pairs 12] [--memory-target 0.12]
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/slim_encoders.py

Four encoders of a quarter of the channels multiply a quarter as often. How much of that is saved depends on how wide
the vectors are that the processor's convolutions work on: channels are filled up to a multiple of 16 with AVX-512 and
of 8 with AVX2, the second command's. Prints a row per level; the share is that of stock's level in its whole encoder.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from measuring import compare, device_name, device_parser, mixed_precision, synchronised
from models import MEMORY_TARGET, NUM_MODALITIES, dataset_without_images, make_plans, make_trainer
from torch import nn

from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.networks.cpu_convolutions import CPUConv3d

STOCK, SLIM = "nnUNetTrainer", "nnUNetTrainerM3FeCon"
VECTORS = "ONEDNN_MAX_CPU_ISA"


def steps(stages: Sequence[nn.Module], inputs: Sequence[torch.Tensor]) -> Callable[[], None]:
    """Return a function that runs each stage on its input, forward and backward."""
    parameters = [list(stage.parameters()) for stage in stages]

    def run() -> None:
        for stage, given, own in zip(stages, inputs, parameters, strict=True):
            with mixed_precision(given.device):
                output = stage(given)
            wanted = [*own, given] if given.requires_grad else own
            torch.autograd.grad(output, wanted, torch.ones_like(output), allow_unused=True)

    return run


class Level(NamedTuple):
    """A level's name, and what runs it in stock's encoder, in the slim ones, and in these by torch's convolutions."""

    name: str
    stock: Callable[[], None]
    slim: Callable[[], None]
    by_torch: Callable[[], None]


def levels(plans: dict[str, Any], device: torch.device) -> list[Level]:
    """Return the levels of the encoders on the device."""
    stock = unwrapped(make_trainer(STOCK, plans, device).network)
    slim = unwrapped(make_trainer(SLIM, plans, device).network)
    chosen = plans["configurations"]["3d_fullres"]
    batch, size = chosen["batch_size"], list(chosen["patch_size"])
    encoders: Any = slim.encoder.encoders
    width, narrow = NUM_MODALITIES, 1
    found = []
    for level, strides in enumerate(stock.encoder.strides):
        asks = level > 0  # no gradient is wanted of an image
        wide = torch.randn(batch, width, *size, device=device, requires_grad=asks)
        narrows = [torch.randn(batch, narrow, *size, device=device, requires_grad=asks) for _ in encoders]
        stages = [encoder.stages[level] for encoder in encoders]
        size = [length // stride for length, stride in zip(size, strides, strict=True)]
        width, narrow = stock.encoder.output_channels[level], encoders[0].output_channels[level]
        name = f"{' x '.join(map(str, size))}, {width} or {len(encoders)} x {narrow} channels"
        of_stock = steps([stock.encoder.stages[level]], [wide])
        by_torch = steps([with_torchs_convolutions(stage) for stage in stages], narrows)
        found.append(Level(name, of_stock, steps(stages, narrows), by_torch))
    return found


def with_torchs_convolutions(stage: nn.Module) -> nn.Module:
    """Return a copy whose convolutions are torch's own."""
    stage = copy.deepcopy(stage)
    for layer in stage.modules():
        if isinstance(layer, CPUConv3d):
            layer.__class__ = nn.Conv3d
    return stage


def main() -> int:
    """Print the table."""
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=12)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    print(f"{device_name(device)}, {os.environ.get(VECTORS, 'widest')} vectors", flush=True)
    print("| level | share of stock's encoder | time / stock | quartiles | by torch's convolutions | quartiles |")
    print("| --- | --: | --: | --: | --: | --: |")
    seconds = dict.fromkeys(("stock", SLIM, "torch"), 0.0)
    rows = []
    with dataset_without_images() as preprocessed:
        for level in levels(make_plans("ExperimentPlanner", preprocessed, memory_target_gb=target), device):
            others = {SLIM: synchronised(level.slim, device), "torch": synchronised(level.by_torch, device)}
            ratios = compare(synchronised(level.stock, device), others, pairs=arguments.pairs)
            rows.append((level.name, ratios))
            seconds["stock"] += ratios[SLIM].reference
            for name, ratio in ratios.items():
                seconds[name] += ratio.median * ratio.reference
    for label, ratios in rows:
        share = ratios[SLIM].reference / seconds["stock"]
        print(f"| {label} | {share:.0%} | {ratios[SLIM].cells()} | {ratios['torch'].cells()} |")
    whole = [seconds[name] / seconds["stock"] for name in (SLIM, "torch")]
    print(f"| all | 100% | {whole[0]:.3f} | | {whole[1]:.3f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
