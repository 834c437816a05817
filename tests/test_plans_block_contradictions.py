"""Choices that contradict one another are refused, and what ``"auto"`` stands for."""

from __future__ import annotations

import pytest

from nnunet_missingmod.choices import ANCHORS
from nnunet_missingmod.plans_block import KEYS_OF_METHODS, PRETRAINING_KEYS, anchor_modality, check_choices, resolve

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
        (
            {"divergence": "holder_pseudo", "divergence_target": "label", "divergence_temperature": 2},
            "set it to 1 for labels",
        ),
        (
            {"channel_encoder": "shared", "alignment_anchor": "mixture", "anchor_modality": "FLAIR"},
            "one of T1, t2flair, T2, got 'FLAIR'",
        ),
        ({"predict_with": "average"}, 'needs teacher "average"'),
        ({"teacher": "average", "initial_weights": "teacher"}, "starts from the network"),
        (
            {"modality_dropout": "uniform", "modality_dropout_from": 0.5, "modality_dropout_until": 0.2},
            "must not be below modality_dropout_from",
        ),
        ({**ENUMERATE, "fused_at": "logits", "modality_subset": ["T1"]}, "trains on every subset of all modalities"),
        (
            {"network": "modality_encoders", "feature_fusion": "region_aware", "partner": True, "consistency": True},
            "set feature_fusion to another one, or partner to false",
        ),
        *(({"alignment_anchor": anchor}, "nothing can move: set alignment_anchor") for anchor in ANCHORS[1:]),
    ],
)
def test_contradictions_are_refused_with_what_to_set(block, message):
    with pytest.raises(ValueError, match=message):
        check_choices(resolve(block), NAMES, keys=KEYS_OF_METHODS)


def test_what_pretraining_cannot_learn_is_refused_of_pretraining_alone():
    block = {"network": "modality_encoders", "feature_fusion": "region_aware"}
    check_choices(resolve(block, keys=KEYS_OF_METHODS), NAMES, keys=KEYS_OF_METHODS)
    with pytest.raises(ValueError, match=r"from labels, which pretraining has not: set it to"):
        check_choices(resolve(block, keys=PRETRAINING_KEYS), NAMES, keys=PRETRAINING_KEYS)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ({"fused_at": "features"}, 'network is not "parallel"'),
        ({"alignment_weight": 1}, 'alignment_anchor is "none"'),
        ({"anchor_modality": "T1"}, 'alignment_anchor is neither "modality" nor "mixture"'),
        ({"mixture_learning_rate_factor": 1}, 'alignment_anchor is not "mixture"'),
        ({"divergence_target": "label"}, 'divergence is "none"'),
        ({"divergence_weight": 3}, 'divergence is "none"'),
        ({"divergence_alpha": 1.1}, "the divergence has no alpha"),
        ({"divergence": "kullback_leibler", "divergence_alpha": 1.1}, "the divergence has no alpha"),
        ({"divergence": "holder_pseudo", "divergence_gamma": 1.1}, "the divergence has no gamma"),
        ({"divergence_temperature": 2}, 'divergence is "none"'),
        ({"mutual_information_weight": 0.0}, 'mutual_information is "none"'),
        ({"mutual_information_level_weights": [1]}, 'mutual_information is "none"'),
        ({"distillation_warmup_epochs": 3}, "no term learns from a teacher or by mutual information"),
        ({"teacher": "nnUNetTrainer"}, "no term, initial_weights or predict_with uses a teacher"),
        (
            {"modality_dropout_probability": 0.3, "modality_dropout": "uniform"},
            'modality_dropout is not "bernoulli", or modality_subset takes its place',
        ),
        (
            {"modality_dropout_until": 0.5},
            'nothing is dropped with modality_dropout "none", nor with a modality_subset',
        ),
        ({"average_decay": 0.9}, 'teacher is not "average"'),
    ],
)
def test_a_key_that_is_set_and_does_nothing_is_refused_with_the_reason(block, reason):
    name = next(key for key in reversed(block) if key not in ("divergence", "modality_dropout"))
    with pytest.raises(ValueError, match=f"{name} does nothing, because {reason}: leave it out"):
        check_choices(resolve(block), NAMES)


def test_what_the_trainer_itself_says_was_not_set():
    own = {"divergence": "holder_pseudo", "divergence_alpha": 1.1}
    check_choices(resolve({"divergence": "none"}, own), NAMES, own)
    check_choices(resolve({"divergence": "none", "divergence_alpha": 1.1}, own), NAMES, own)
    with pytest.raises(ValueError, match="divergence_alpha does nothing"):
        check_choices(resolve({"divergence": "none", "divergence_alpha": 2.0}, own), NAMES, own)


@pytest.mark.parametrize("block", [{}, ENUMERATE, {**ENUMERATE, "mutual_information": "self"}])
def test_what_goes_together_is_accepted(block):
    check_choices(resolve(block), NAMES)


def test_the_automatic_anchor_is_flair_else_the_first():
    assert anchor_modality(resolve({}), NAMES) == "t2flair"
    assert anchor_modality(resolve({}), ("CT", "PET")) == "CT"
    assert anchor_modality(resolve({"anchor_modality": "T2"}), NAMES) == "T2"


def test_enumerating_the_subsets_of_many_modalities_is_refused_before_training():
    names = [f"phase {channel}" for channel in range(23)]
    with pytest.raises(ValueError, match='on 8,388,607 subsets in each step: set it to "sample"'):
        check_choices(resolve(ENUMERATE), names)
    check_choices(resolve({"network": "parallel"}), names)
