"""Terms of co-training need a partner; keys of what is off are refused."""

from __future__ import annotations

import pytest

from nnunet_missingmod.co_training_choices import CO_TRAINING_KEYS, CO_TRAINING_TERMS
from nnunet_missingmod.plans_block import check_choices, resolve

NAMES = ("FLAIR", "T1")
OF_PARTNER = [term.switch for term in CO_TRAINING_TERMS if term.switch != "partner"]


@pytest.mark.parametrize("name", OF_PARTNER)
def test_a_term_is_on_beside_a_partner_and_refused_without(name):
    check_choices(resolve({"partner": True, name: True}), NAMES)
    with pytest.raises(ValueError, match=f"{name} needs a partner"):
        check_choices(resolve({name: True}), NAMES)


@pytest.mark.parametrize("key", [key for key in CO_TRAINING_KEYS if key.idle is not None], ids=lambda key: key.name)
def test_a_key_of_what_is_off_is_refused(key):
    with pytest.raises(ValueError, match=f"{key.name} does nothing"):
        check_choices(resolve({key.name: 3}), NAMES)


def test_a_partner_learns_from_one_subset_a_step():
    block = {"network": "parallel", "subset_objective": "enumerate", "partner": True}
    with pytest.raises(ValueError, match='set subset_objective to "sample"'):
        check_choices(resolve(block), NAMES)


def test_mutual_information_with_a_partner_needs_one():
    with pytest.raises(ValueError, match="set partner to true"):
        check_choices(resolve({"mutual_information": "partner"}), NAMES)
    check_choices(resolve({"mutual_information": "partner", "partner": True}), NAMES)
