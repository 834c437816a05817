"""Choices that contradict one another are refused, and what ``"auto"`` stands for."""

from __future__ import annotations

import pytest

from nnunet_missingmod.plans_block import anchor_modality, check_choices, resolve

NAMES = ("T1", "t2flair", "T2")
ENUMERATE = {"network": "parallel", "subset_objective": "enumerate"}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"subset_objective": "enumerate"}, 'set network to "parallel"'),
        ({**ENUMERATE, "fused_at": "features"}, 'fused_at to "logits"'),
        ({**ENUMERATE, "modality_dropout": "uniform"}, 'set modality_dropout to "none"'),
        ({"network": "parallel", "mutual_information": "self"}, 'set subset_objective to "enumerate"'),
        ({"network": "parallel", "feature_fusion": "attention"}, 'fused_at "features"'),
        ({"network": "parallel", "absent_fill": "learned"}, 'set absent_fill to "zero"'),
        ({"network": "parallel", "presence_conditioning": True}, "set it to false"),
        ({"channel_encoder_width": 2}, "set channel_encoder_width to 1"),
        ({"network": "stock", "channel_encoder": "shared"}, 'network to "early"'),
        ({"network": "stock", "absent_fill": "learned"}, 'set absent_fill to "zero"'),
        ({"network": "stock", "presence_conditioning": True}, "set it to false"),
        ({"divergence_target": "label", "divergence_temperature": 2}, "set it to 1 for labels"),
        ({"anchor_modality": "FLAIR"}, "one of T1, t2flair, T2, got 'FLAIR'"),
    ],
)
def test_contradictions_are_refused_with_what_to_set(block, message):
    with pytest.raises(ValueError, match=message):
        check_choices(resolve(block), NAMES)


@pytest.mark.parametrize("block", [{}, ENUMERATE, {**ENUMERATE, "mutual_information": "self"}])
def test_what_goes_together_is_accepted(block):
    check_choices(resolve(block), NAMES)


def test_the_automatic_anchor_is_flair_else_the_first():
    assert anchor_modality(resolve({}), NAMES) == "t2flair"
    assert anchor_modality(resolve({}), ("CT", "PET")) == "CT"
    assert anchor_modality(resolve({"anchor_modality": "T2"}), NAMES) == "T2"
