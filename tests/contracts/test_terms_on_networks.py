"""Every loss term with every network is refused by a message of the choices, or takes a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from building import NAMES, SIZE, build, make_terms
from torch.nn import functional

from nnunet_missingmod.choices import KEYS, OFF, TERMS
from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.plans_block import KEYS_OF_METHODS, check_choices, resolve, with_numbers
from nnunet_missingmod.training.step import StepLoss, TeacherOutput

ENCODERS = {"network": "modality_encoders", "feature_fusion": "concatenate"}
NETWORKS: dict[str, dict[str, Any]] = {
    "early": {"network": "early"},
    "latents": {"network": "early", "channel_encoder": "shared"},
    "substituting": {"network": "early", "channel_encoder": "substituting"},
    "stock": {"network": "stock"},
    "logits": {"network": "parallel"},
    "features": {"network": "parallel", "fused_at": "features"},
    "enumerate": {"network": "parallel", "subset_objective": "enumerate"},
    "separate": {**ENCODERS, "encoders": "separate"},
    "conditioned": {**ENCODERS, "encoders": "shared_specific", "presence_conditioning": True},
}
BY_NAME = {key.name: key for key in KEYS}
# A switch and each of its kinds that turns a term on.
SWITCHES = [
    (term.switch, kind)
    for term in TERMS
    for kind in (term.kinds or [value for value in BY_NAME[term.switch].range.values if value != OFF] or [True])
]
# What some terms need beside their own key.
OF_PARTNERS = ("consistency", "content", "style", "entropy_adversarial", "knowledge_adversarial")
NEEDS = {
    ("subset_consistency", True): {"two_subsets": True, "modality_dropout": "uniform"},
    ("mutual_information", "partner"): {"partner": True},
    **{(switch, True): {"partner": True} for switch in OF_PARTNERS},
}
PRESENT = torch.tensor([[True, True, False], [True, False, False]])
# Of the networks above those that go with each term, as documents say it.
ACCEPTED = {
    ("shared_distance", True): {"conditioned"},
    ("domain_classification", True): {"conditioned"},
    ("channel_divergence", True): {"substituting"},
    ("bottleneck", "reconstruction"): {"features", "separate"},
    ("mutual_information", "self"): {"enumerate"},
    ("subset_consistency", True): set(NETWORKS) - {"enumerate"},
    ("gated_distillation", True): set(NETWORKS),
    ("alignment_anchor", "mixture"): {"latents"},
}


def segmentation(outputs: Any, targets: Any) -> torch.Tensor:
    return sum(one_resolution(output, target) for output, target in zip(outputs, targets, strict=True))


def one_resolution(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output, target[:, 0])


def refusal(block: dict[str, Any], own: dict[str, Any]) -> str:
    """What the choices say against it; nothing if they go together."""
    try:
        check_choices(resolve(block, own), NAMES, own, keys=KEYS_OF_METHODS)
    except ValueError as error:
        return str(error)
    return ""


def take_a_step(choices: dict[str, Any]) -> torch.Tensor:
    network: Any = build(choices)
    terms = make_terms(choices, network, segmentation, one_resolution)
    network.training_output = "branches" if choices["subset_objective"] == "enumerate" else "features"
    loss = StepLoss(segmentation, terms, DecodedFeatures(network) if terms.uses_decoded else None)
    data, target = torch.randn(2, len(NAMES), SIZE, SIZE), torch.zeros(2, 1, SIZE, SIZE, dtype=torch.long)
    loss.complete = data.clone()
    data[~PRESENT] = torch.nan
    if any(term.is_on(choices) and term.has_teacher(choices) for term in TERMS):
        levels = [torch.randn(2, channels, SIZE // s, SIZE // s) for channels, s in ((4, 1), (6, 2), (8, 4))]
        decoded = torch.randn(2, 4, SIZE, SIZE)
        loss.teacher_output = TeacherOutput(torch.randn(2, 2, SIZE, SIZE), levels, torch.ones(2, dtype=bool), decoded)
    value = loss(network(data), [target, target[..., ::2, ::2]])
    value.backward()
    return value.detach()


@pytest.mark.parametrize(("switch", "kind"), SWITCHES)
def test_a_term_is_refused_with_what_to_set_or_takes_a_step(switch: str, kind: Any) -> None:
    accepted = set()
    # What a trainer's class may say of encoders, where a block takes another network.
    own = {"encoders": "shared_specific"}
    for name, network in NETWORKS.items():
        block = {**network, **NEEDS.get((switch, kind), {}), switch: kind}
        refused = refusal(block, own)
        if refused:
            assert "set " in refused, refused
        else:
            accepted.add(name)
            assert take_a_step(with_numbers(resolve(block, own), NAMES)).isfinite(), name
    assert accepted == ACCEPTED.get((switch, kind), accepted)
    assert accepted
