"""Choices that contradict one another are refused, and what ``"auto"`` and ``"depth"`` stand for."""

from __future__ import annotations

import pytest

from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.method_choices import (
    anchor_modality,
    check_choices,
    level_weights,
    taught_terms,
    term_weights,
)

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


def test_the_terms_that_learn_from_a_teacher_are_named():
    assert taught_terms(resolve({})) == []
    assert taught_terms(resolve({"divergence": "holder_pseudo", "divergence_target": "label"})) == []
    assert taught_terms(resolve({"mutual_information": "self"})) == []
    assert taught_terms(resolve({"divergence": "jensen_shannon"})) == ["divergence"]
    both = {"divergence": "jensen_shannon", "mutual_information": "teacher"}
    assert taught_terms(resolve(both)) == ["divergence", "mutual_information"]


def test_terms_in_use_have_their_weights():
    assert term_weights(resolve({})) == {"segmentation": 1}
    block = {"alignment_anchor": "normal", "divergence": "total_variation", "divergence_weight": 3}
    assert term_weights(resolve(block)) == {"segmentation": 1, "alignment": 0.125, "divergence": 3}


def test_levels_double_with_depth_or_are_listed():
    assert level_weights(resolve({}), 3) == {0: 1, 1: 2, 2: 4}
    listed = resolve({"mutual_information_level_weights": [0, 1, 0.5]})
    assert level_weights(listed, 3) == {1: 1, 2: 0.5}
    with pytest.raises(ValueError, match="the 4 encoder levels"):
        level_weights(listed, 4)
