"""What goes with the choices of several subsets of a case."""

from __future__ import annotations

import pytest

from nnunet_missingmod.plans_block import check_choices, resolve

NAMES = ("FLAIR", "T1")
ENUMERATE = {"network": "parallel", "subset_objective": "enumerate"}


@pytest.mark.parametrize(
    "block",
    [
        {**ENUMERATE, "gradient_surgery": "parameters"},
        {**ENUMERATE, "gradient_surgery": "logits"},
        {"modality_dropout": "uniform", "two_subsets": True},
        {"modality_dropout": "uniform", "two_subsets": True, "subset_consistency": True},
    ],
)
def test_what_goes_together_is_accepted(block):
    check_choices(resolve(block), NAMES)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"gradient_surgery": "logits"}, 'set subset_objective to "enumerate"'),
        ({**ENUMERATE, "two_subsets": True}, "set two_subsets to false"),
        ({"two_subsets": True}, 'set modality_dropout to "uniform"'),
        ({"subset_consistency": True}, "set two_subsets to true"),
        (
            {"two_subsets": True, "modality_subset": ["T1"]},
            "shows the same one twice: set two_subsets and subset_consistency to false",
        ),
        ({"subset_consistency_weight": 1}, "subset_consistency is false"),
    ],
)
def test_what_contradicts_or_does_nothing_is_refused(block, message):
    with pytest.raises(ValueError, match=message):
        check_choices(resolve(block), NAMES)


def test_a_trainer_that_drops_modalities_shows_no_two_subsets_of_one():
    own = {"modality_dropout": "uniform", "two_subsets": True}
    with pytest.raises(ValueError, match="shows the same one twice: set two_subsets and subset_consistency to false"):
        check_choices(resolve({"modality_subset": ["T1"]}, own), NAMES, own)
