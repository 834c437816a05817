"""Families cost what they should on nnU-Net's plan, and at their papers' widths have their papers' parameters."""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_missingmod.choices import CONVENTIONAL_TEACHER, PRETRAINERS, TERMS, TRAINERS
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.reference import step_cost, trainer_entries
from nnunet_missingmod.training.building import build_network, build_terms

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import family_costs

STOCK = family_costs.stock_cost()
WIDTHS = family_costs.WIDTHS
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


def ratios(trainer: str, **block: Any) -> tuple[float, float, float]:
    """Parameters that predict in millions, and multiplications of training and prediction in relation to stock."""
    found = family_costs.cost(family_costs.choices_of(trainer, **block))
    return found.parameters / 1e6, found.training / STOCK.training, found.prediction / STOCK.prediction


@lru_cache
def as_it_is(trainer: str) -> tuple[float, float, float]:
    return ratios(trainer)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_family_costs_what_was_counted_from_its_design(name: str) -> None:
    assert as_it_is(name) == pytest.approx(EXPECTED[name], rel=0.1)


# J separate encoders with a pointwise convolution for each level, or slim ones, which need none.
OF_AUXILIARIES = {
    ("nnUNetTrainerMMFormer", "unimodal_low", 1): (3.21, 1.885),
    ("nnUNetTrainerMMFormer", "unimodal_low", 2): (2.47, 1.885),
    ("nnUNetTrainerMMFormer", "unimodal_low", 3): (2.10, 1.885),
    ("nnUNetTrainerM3FeCon", "unimodal", 1): (0.952, 0.776),
    ("nnUNetTrainerM3FeCon", "unimodal_low", 1): (0.859, 0.776),
}


@pytest.mark.parametrize(("name", "auxiliary", "level"), OF_AUXILIARIES)
def test_an_auxiliary_decoder_costs_what_its_levels_do(name: str, auxiliary: str, level: int) -> None:
    block = {"bottleneck": "none", "auxiliary": auxiliary, "auxiliary_level": level}
    assert ratios(name, **block)[1:] == pytest.approx(OF_AUXILIARIES[name, auxiliary, level], rel=0.002)


def test_mmformers_own_fusions_and_tokens_are_what_its_trainer_lacks_of_the_published_cost() -> None:
    parameters, training, prediction = as_it_is("nnUNetTrainerMMFormer")
    assert (training, prediction) == pytest.approx((4.69, 1.885), rel=0.001)
    # There a convolution of 3 and one of 1 follow at each level: 28 C^2 more.
    lacking = 28 * sum(width**2 for width in WIDTHS) / 1e6
    more = 28 * sum(width**2 * 128**3 / 8**level for level, width in enumerate(WIDTHS)) / STOCK.training
    assert (training + more, prediction + more) == pytest.approx((4.9, 2.1), rel=0.015)
    assert parameters + lacking - tokens(320, 64, 320, 1280) + tokens(512, 64, 320, 4096) == pytest.approx(112, abs=0.5)


def tokens(d: int, voxels: int, channels: int, mlp: int) -> float:
    """Millions of parameters of four blocks within modalities and one between them, of d channels."""
    block = 4 * d * (d + 1) + 2 * d * mlp + mlp + d + 4 * d
    # From the bottleneck's channels and back, where they are others.
    in_and_out = 0 if d == channels else 4 * (channels + 1) * d + (4 * d + 1) * 4 * channels
    return (5 * block + 4 * voxels * d + in_and_out) / 1e6


def at_widths(
    name: str, widths: tuple[int, ...], convolutions: int | list[int], decoder: int | list[int] = 2
) -> dict[str, int]:
    """The parameters of a trainer's network, and of what learns beside it, by their parts, on a backbone of a paper.

    Args:
        name: of the trainer.
        widths: of the levels.
        convolutions, decoder: of each level, full resolution first, and of each level of the decoder, deepest first.
    """
    choices = family_costs.choices_of(name)
    plans, configuration = family_costs.plan()
    levels = len(widths)
    configuration.configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": levels,
        "features_per_stage": list(widths),
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (levels - 1)],
        "n_conv_per_stage": [convolutions] * levels if isinstance(convolutions, int) else convolutions,
        "n_conv_per_stage_decoder": [decoder] * (levels - 1) if isinstance(decoder, int) else decoder,
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
    encoder = number(network.encoder)
    return {"network": number(network), "beside": number(terms), "attention": attention, "encoder": encoder}


def test_hemis_and_uhved_have_about_a_million_at_their_widths() -> None:
    for name in ("nnUNetTrainerHeMIS", "nnUNetTrainerUHVED"):
        assert at_widths(name, (8, 16, 32, 64), 2)["network"] == pytest.approx(1.0e6, rel=0.1)


def test_rfnet_has_its_8_99_million() -> None:
    found = at_widths("nnUNetTrainerRFNet", (16, 32, 64, 128), 3)
    assert found["network"] + found["beside"] == pytest.approx(8.99e6, rel=0.02)


def test_mmformer_has_its_36_65_million_with_tokens_of_512_channels() -> None:
    widths = (8, 16, 32, 64, 128)
    found = at_widths("nnUNetTrainerMMFormer", widths, 3)
    theirs = tokens(512, 512, 128, 4096)
    ours = (found["network"] + found["beside"] - found["attention"]) / 1e6
    # Each level's fusion has a convolution of 3 and one of 1 more there: 0.6 million.
    lacking = 28 * sum(width**2 for width in widths) / 1e6
    assert lacking == pytest.approx(0.6, abs=0.02)
    assert ours + theirs + lacking == pytest.approx(36.65, rel=0.012)
    assert found["attention"] / 1e6 == pytest.approx(tokens(128, 512, 128, 512), rel=1e-6)  # the bottleneck's own width


def test_pmkls_teacher_and_student_have_their_6_6_and_2_1_million() -> None:
    assert at_widths("nnUNetTrainerPMKLTeacher", (16, 32, 64, 128), 3)["network"] == pytest.approx(6.6e6, rel=0.02)
    found = at_widths("nnUNetTrainerPMKL", (16, 32, 64, 128), 3)
    assert found["network"] == pytest.approx(2.1e6, rel=0.06)
    # Its projection heads have 35.3 million each, on maps of 41 voxels an axis; here they are averaged to two.
    assert found["beside"] < 1e4


def test_demoseg_has_its_31_5_million() -> None:
    def stage(inputs: int) -> int:  # two convolutions of 32 channels, with bias and normalisation
        return 27 * inputs * 32 + 27 * 32**2 + 2 * (32 + 2 * 32)

    # There each modality has a first stage of its own, and every stage orders its channels by a perceptron C-C/4-C.
    dense = 4 * stage(1) - stage(4)
    stages = [*WIDTHS, *WIDTHS[:-1], 32, 32, 32]  # of encoder and decoder, and of the other modalities
    ordering = sum(2 * width * width // 4 for width in stages)
    assert (STOCK.parameters + dense + ordering) / 1e6 == pytest.approx(31.5, abs=0.05)
    assert as_it_is("nnUNetTrainerDeMoSeg")[0] == pytest.approx(STOCK.parameters / 1e6, abs=0.001)


def test_m3fecon_has_20_7_million_and_its_port_about_67_with_an_encoder_that_never_runs() -> None:
    assert ratios("nnUNetTrainerM3FeCon", bottleneck="none")[0] == pytest.approx(20.7, abs=0.05)
    widths = (32, 64, 128, 256, 512, 512)  # of the plans there, with its fixed 128 channels for each of four at the end
    slim, stock = at_widths("nnUNetTrainerM3FeCon", widths, 2), at_widths("nnUNetTrainerPMKL", widths, 2)
    assert (slim["network"] + stock["encoder"]) / 1e6 == pytest.approx(67, abs=0.5)
    assert slim["encoder"] == pytest.approx(stock["encoder"] / 4, rel=0.01)


def with_added_skips(found: dict[str, int], widths: tuple[int, ...]) -> int:
    """The parameters of a network whose decoder adds skips, and before that upsamples after a convolution of 1.

    nnU-Net's transposed convolution has 2^3 voxels, and its next one takes the skip's channels too.
    """
    return found["network"] - sum(7 * wide * width + 27 * width**2 for width, wide in pairwise(widths))


def test_acn_smunet_and_m3ae_have_theirs_with_the_blocks_of_a_network_of_four_levels() -> None:
    # One, two, two and four residual blocks of two convolutions, after a first one or one of stride 2, as Myronenko's
    # network (2018) has them. Two convolutions a level would be 1.4 million.
    widths = (16, 32, 64, 128)
    found = at_widths("nnUNetTrainerACN", widths, [3, 5, 5, 9])
    one = with_added_skips(found, widths) / 1e6
    assert one == pytest.approx(4.70, abs=0.01)  # ACN's and M3AE's 4.7
    assert at_widths("nnUNetTrainerACN", widths, 2)["network"] / 1e6 == pytest.approx(1.40, abs=0.01)
    # SMU-Net puts style together of three levels, and style and content into the bottleneck: 4.78.
    assert one + (sum(widths[1:]) * 128 + 2 * 128 * 128) / 1e6 == pytest.approx(4.78, abs=0.02)
    # Of ACN's 9.63 in training, two networks and our head of mutual information have all but 0.17. The branch that
    # runs there without a loss may have them; its sizes are not known. A discriminator has more.
    assert 9.63 - (2 * one + found["beside"] / 1e6) == pytest.approx(0.17, abs=0.02)


def test_protokd_has_the_9_45_million_of_a_v_net() -> None:
    widths = (16, 32, 64, 128, 256)
    # One, two, three, three and three convolutions a level and as many in the decoder; what goes down in between is
    # 2^3 voxels there and one of a stage's convolutions of 3^3 here; skips are added.
    found = at_widths("nnUNetTrainerProtoKD", widths, [1, 3, 4, 4, 4], [3, 3, 2, 1])
    less = sum(19 * width * wide + 27 * width**2 for width, wide in pairwise(widths))
    assert (found["network"] - less) / 1e6 == pytest.approx(9.45, abs=0.01)


METHODS = [
    name
    for group in ("Methods", "Families")
    for name in TRAINERS[group][1]
    if name not in PRETRAINERS and name != "nnUNetTrainerRDLReference"  # of other plans
]
WORDS = ["below stock", "as stock", "1.4 x stock", "2 x stock", "3 x stock", "4 x stock or more"]


def in_words(times: float) -> str:
    return WORDS[sum(times > most for most in (0.9, 1.2, 1.6, 2.6, 3.6))]


def of_teacher(choices: dict[str, Any], own_prediction: float) -> float:
    """What a teacher adds to a step: its forward pass, where a step has a backward one of twice that beside its own."""
    if not any(term.is_on(choices) and term.has_teacher(choices) for term in TERMS):
        return 0.0
    if choices["teacher"] == "average":
        return own_prediction / 3
    teacher = CONVENTIONAL_TEACHER if choices["teacher"] == "auto" else choices["teacher"]
    return (1.0 if teacher == "nnUNetTrainerZeroFill" else as_it_is(teacher)[2]) / 3


@pytest.mark.parametrize("name", METHODS)
def test_the_menu_says_the_cost_that_is_counted(name: str) -> None:
    entry = next(entry for entry in trainer_entries() if entry.name == name)
    choices = family_costs.choices_of(name)
    _, times, prediction = as_it_is(name)
    if choices["gradient_surgery"] == "parameters":
        times *= 10
    assert entry.cost == in_words(times + of_teacher(choices, prediction))


def test_a_teacher_of_several_encoders_costs_more_than_one_of_stock_nnunets_size() -> None:
    choices = family_costs.choices_of("nnUNetTrainerPMKL")
    assert 1 + of_teacher(choices, 1.0) == pytest.approx(1.65, abs=0.01)
    assert step_cost(choices) == "2 x stock"
    assert step_cost({**choices, "teacher": "auto"}) == step_cost({**choices, "teacher": "/a/folder"}) == "1.4 x stock"
    assert step_cost({**choices, "teacher": "average"}) == "1.4 x stock"
    assert step_cost({**choices, "taught_share": 0.5}) == "1.4 x stock"
    assert step_cost({**choices, "teacher": "nnUNetTrainerMedMAPTeacherParallel"}) == "2 x stock"
