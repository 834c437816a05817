"""Count how much of the predictions of all subsets of four modalities can be shared exactly.

    python benchmarks/shared_work.py

Multiplications of convolutions on nnU-Net's plan for BraTS, as ``family_costs.py`` counts them. What is linear in the
modalities runs once for each and is added up; what follows a normalisation runs once for each of the 15 subsets.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import family_costs
import torch

from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.multimodal import tell_present
from nnunet_missingmod.training.building import build_network

SUBSETS = len(all_subsets(len(family_costs.NAMES)))


def prepared(trainer: str) -> tuple[Any, Callable[[], Any]]:
    """Return a trainer's network, and what runs it on a complete case."""
    choices = family_costs.choices_of(trainer)
    sizes = {"num_input_channels": len(family_costs.NAMES), "num_output_channels": family_costs.CLASSES}
    with torch.device("meta"):
        network: Any = build_network(choices, *family_costs.plan(), **sizes, deep_supervision=False)
        x = torch.empty(1, len(family_costs.NAMES), *family_costs.SIZE)
    present = torch.ones(1, len(family_costs.NAMES), dtype=torch.bool)

    def run() -> None:
        tell_present(network, present)
        network(x, present.to("meta") if choices["network"] == "early" else present)

    return network, run


def early() -> tuple[float, float]:
    """Return the share that subsets can have in common, in the early network: up to its first convolution."""
    network, run = prepared("nnUNetTrainerMedMAP")
    common = family_costs.count(network.channel_encoder, run)
    common += family_costs.count(network.encoder.stages[0][0].convs[0].conv, run)
    return common / family_costs.count(network, run), 0.0


def slim() -> tuple[float, float]:
    """Return the shares of the encoders, and of what the decoder's convolutions make of skips: linear in them."""
    network, run = prepared("nnUNetTrainerM3FeCon")
    total = family_costs.count(network, run)
    skips = 0.0
    for stage in network.decoder.stages:
        conv = stage.convs[0].conv
        skips += family_costs.count(conv, run) * (conv.in_channels - conv.out_channels) / conv.in_channels
    return 1 - family_costs.count(network.decoder, run) / total, skips / total


def main() -> int:
    """Print a row for each network."""
    print("| network | once for each modality | all subsets / one prediction |\n| --- | --: | --: |")
    with family_costs.presence_of_meta():
        for name, (encoders, skips) in {"early": early(), "slim encoders, concatenated": slim()}.items():
            common = encoders + skips
            print(f"| {name} | {common:.1%} | {common + SUBSETS * (1 - common):.1f} |")
            if skips:
                print(f"| the same, encoders alone | {encoders:.1%} | {encoders + SUBSETS * (1 - encoders):.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
