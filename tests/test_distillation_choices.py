"""Further terms of a teacher: on by their key, refused where nothing can be compared."""

from __future__ import annotations

import pytest

from nnunet_missingmod.distillation_choices import DISTILLATION_KEYS, DISTILLATION_TERMS
from nnunet_missingmod.plans_block import check_choices, resolve


@pytest.mark.parametrize("term", DISTILLATION_TERMS, ids=lambda term: term.name)
def test_each_learns_from_a_teacher_once_it_is_on(term):
    off, on = resolve(None), resolve({term.switch: True})
    assert not term.is_on(off)
    assert term.is_on(on)
    assert term.has_teacher(on)
    assert term.warms_up(on)
    check_choices(on, ("FLAIR", "T1"))


@pytest.mark.parametrize("key", [key for key in DISTILLATION_KEYS if key.idle is not None], ids=lambda key: key.name)
def test_a_key_of_a_term_that_is_off_is_refused(key):
    with pytest.raises(ValueError, match=f"{key.name} does nothing"):
        check_choices(resolve({key.name: 3.0}), ("FLAIR", "T1"))


@pytest.mark.parametrize("name", ["prototype", "contrastive"])
def test_a_network_of_many_decoders_has_none_to_compare(name):
    with pytest.raises(ValueError, match=f"set {name} to false"):
        check_choices(resolve({"network": "parallel", name: True}), ("FLAIR", "T1"))
