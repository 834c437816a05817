"""Families cost what they should on nnU-Net's plan, and at their papers' widths have their papers' parameters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_missingmod.choices import TERMS
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.reference import trainer_entries
from nnunet_missingmod.training.building import build_network, build_terms

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import family_costs

STOCK = family_costs.stock_cost()
# Parameters in millions, and multiplications of training and prediction in relation to stock nnU-Net's, as counted by
# hand from the designs: J separate encoders and one decoder are 73.3 M and 1.85, a decoder for each modality's levels
# makes 4.66 of it in training.
EXPECTED = {
    "nnUNetTrainerHeMIS": (73.3, 1.85, 1.85),
    "nnUNetTrainerUHVED": (73.3, 4.66, 1.85),
    "nnUNetTrainerRFNet": (94.9, 5.2, 2.4),
    # Tokens of 320 channels in the place of 512 with a perceptron of 4096, which make 112 M.
    "nnUNetTrainerMMFormer": (80.7, 4.66, 1.85),
    "nnUNetTrainerM3FeCon": (20.7, 0.78, 0.78),
    "nnUNetTrainerDeMoSeg": (31.2, 1.0, 1.0),
    "nnUNetTrainerPMKL": (31.2, 1.0, 1.0),
    "nnUNetTrainerACN": (31.2, 2.0, 1.0),
    "nnUNetTrainerGGMD": (31.2, 3.95, 3.95),
    "nnUNetTrainerShaSpec": (94.0, 3.0, 3.0),
    "nnUNetTrainerSharedBackbone": (31.2, 3.95, 3.95),
}


def test_stock_has_the_parameters_of_nnunets_plan() -> None:
    assert round(STOCK.parameters / 1e6, 1) == 31.2


@pytest.mark.parametrize("name", EXPECTED)
def test_a_family_costs_what_was_counted_from_its_design(name: str) -> None:
    found = family_costs.cost(family_costs.choices_of(name))
    ratios = (found.parameters / 1e6, found.training / STOCK.training, found.prediction / STOCK.prediction)
    assert ratios == pytest.approx(EXPECTED[name], rel=0.1)


def at_widths(name: str, widths: tuple[int, ...], convolutions: int, decoder: int = 2) -> dict[str, int]:
    """The parameters of a trainer's network, and of what learns beside it, by their parts, on a backbone of a paper."""
    choices = family_costs.choices_of(name)
    plans, configuration = family_costs.plan()
    levels = len(widths)
    configuration.configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": levels,
        "features_per_stage": list(widths),
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (levels - 1)],
        "n_conv_per_stage": [convolutions] * levels,
        "n_conv_per_stage_decoder": [decoder] * (levels - 1),
    }
    configured = ConfigurationManager(configuration.configuration)
    sizes = {"num_input_channels": 4, "num_output_channels": 4, "deep_supervision": True}
    nothing: Any = lambda logits, target: 0  # noqa: E731
    with torch.device("meta"):
        network: Any = build_network(choices, PlansManager(plans.plans), configured, **sizes)
        design = getattr(network, "decoder_design", None)
        setting = Setting(family_costs.NAMES, widths, 3, Head("softmax"), design, nothing, nothing, 4)
        terms = build_terms(choices, nothing, setting)

    def number(module: torch.nn.Module | None) -> int:
        return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())

    attention = number(getattr(network, "bottleneck", None))
    return {"network": number(network), "beside": number(terms), "attention": attention}


def test_hemis_and_uhved_have_about_a_million_at_their_widths() -> None:
    for name in ("nnUNetTrainerHeMIS", "nnUNetTrainerUHVED"):
        assert at_widths(name, (8, 16, 32, 64), 2)["network"] == pytest.approx(1.0e6, rel=0.1)


def test_rfnet_has_its_8_99_million() -> None:
    found = at_widths("nnUNetTrainerRFNet", (16, 32, 64, 128), 3)
    assert found["network"] + found["beside"] == pytest.approx(8.99e6, rel=0.02)


def test_mmformer_has_its_36_65_million_with_tokens_of_512_channels() -> None:
    found = at_widths("nnUNetTrainerMMFormer", (8, 16, 32, 64, 128), 3)
    d, mlp, tokens = 512, 4096, 512
    block = 4 * d * (d + 1) + 2 * d * mlp + mlp + d + 4 * d
    # Four blocks within modalities and one between them, positions, to 512 channels and back to four times 128.
    theirs = 5 * block + 4 * tokens * d + 4 * (128 + 1) * d + (4 * d + 1) * 4 * 128
    ours = found["network"] + found["beside"] - found["attention"]
    assert ours + theirs == pytest.approx(36.65e6, rel=0.03)
    assert found["attention"] < 0.05 * theirs  # tokens of the bottleneck's own 128 channels


def test_pmkls_teacher_and_student_have_their_6_6_and_2_1_million() -> None:
    assert at_widths("nnUNetTrainerPMKLTeacher", (16, 32, 64, 128), 3)["network"] == pytest.approx(6.6e6, rel=0.02)
    found = at_widths("nnUNetTrainerPMKL", (16, 32, 64, 128), 3)
    assert found["network"] == pytest.approx(2.1e6, rel=0.06)
    # Its projection heads have 35.3 million each, on maps of 41 voxels an axis; here they are averaged to two.
    assert found["beside"] < 1e4


@pytest.mark.parametrize("name", EXPECTED)
def test_the_menu_says_the_cost_that_is_counted(name: str) -> None:
    entry = next(entry for entry in trainer_entries() if entry.name == name)
    choices = family_costs.choices_of(name)
    times = family_costs.cost(choices).training / STOCK.training
    if any(term.is_on(choices) and term.has_teacher(choices) for term in TERMS):
        times += 1 / 3
    if choices["gradient_surgery"] == "parameters":
        times *= 10
    words = ["below stock", "as stock", "1.4 x stock", "2 x stock", "3 x stock", "4 x stock or more"]
    assert entry.cost == words[sum(times > most for most in (0.9, 1.2, 1.6, 2.6, 3.6))]
