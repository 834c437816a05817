"""Choices become losses with exactly those choices."""

from __future__ import annotations

import pytest

from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.building import build_terms, taught_terms, term_weights


def build(block, **more):
    given = {"encoder_channels": (4, 8, 16), "dimensions": 3, "head": Head("softmax"), **more}
    return build_terms(resolve(block), lambda o, t: o, Setting(modality_names=("T1", "FLAIR"), **given))


def test_segmentation_alone_has_no_other_term_and_nothing_that_learns():
    terms = build({})
    assert terms.term("alignment") is terms.term("divergence") is terms.term("mutual_information") is None
    assert list(terms.parameters()) == []


def test_every_choice_arrives():
    terms = build(
        {
            "alignment_anchor": "mixture",
            "divergence": "holder_proper",
            "divergence_alpha": 1.5,
            "divergence_gamma": 1.0,
            "divergence_temperature": 3.0,
            "mutual_information": "teacher",
            "mutual_information_level_weights": [0, 1, 3],
        },
        head=Head("regions", ignore_label=7),
        dimensions=2,
    )
    assert (terms.alignment.anchor, terms.alignment.anchor_channel) == ("mixture", 1)
    assert terms.divergence.parameters_of_divergence == {"alpha": 1.5, "gamma": 1.0}
    assert (terms.divergence.kind, terms.divergence.head, terms.divergence.temperature) == (
        "holder_proper",
        "regions",
        3.0,
    )
    assert terms.levels == (1, 2)
    assert terms.mutual_information.level_weights == (0.25, 0.75)
    assert [head.channels for head in terms.mutual_information.heads] == [(8, 8), (16, 16)]
    assert (terms.head.ignore_label, terms.divergence.target, terms.mutual_information.source) == (
        7,
        "teacher",
        "teacher",
    )


@pytest.mark.parametrize("kind", ["kullback_leibler", "total_variation", "jensen_shannon"])
def test_divergences_without_exponents_get_none(kind):
    assert build({"divergence": kind}).divergence.parameters_of_divergence == {}


def test_pseudo_divergence_has_alpha_alone():
    assert build({"divergence": "holder_pseudo"}).divergence.parameters_of_divergence == {"alpha": 2.0}


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
