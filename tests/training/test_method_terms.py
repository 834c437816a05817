"""Choices become losses with exactly those choices."""

from __future__ import annotations

import pytest

from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.method_terms import build_terms


def build(block, **more):
    given = {"encoder_channels": [4, 8, 16], "dimensions": 3, "head": "softmax", "ignore_label": None, **more}
    return build_terms(resolve(block), lambda o, t: o, modality_names=["T1", "FLAIR"], **given)


def test_segmentation_alone_has_no_other_term_and_nothing_that_learns():
    terms = build({})
    assert terms.alignment is terms.divergence is terms.mutual_information is None
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
        head="regions",
        ignore_label=7,
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
    assert (terms.ignore_label, terms.divergence_target, terms.mutual_information_source) == (7, "teacher", "teacher")


@pytest.mark.parametrize("kind", ["kullback_leibler", "total_variation", "jensen_shannon"])
def test_divergences_without_exponents_get_none(kind):
    assert build({"divergence": kind}).divergence.parameters_of_divergence == {}


def test_pseudo_divergence_has_alpha_alone():
    assert build({"divergence": "holder_pseudo"}).divergence.parameters_of_divergence == {"alpha": 2.0}
