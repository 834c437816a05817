"""The keys' own consistency."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.plans_block import KEYS
from nnunet_missingmod.plans_keys import is_count, is_natural, is_number, is_weight, one_of


def test_every_name_occurs_once():
    names = [key.name for key in KEYS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_default_is_accepted_and_survives_json(key):
    if key.default is not None:
        assert key.accepts(json.loads(json.dumps(key.default)))


@pytest.mark.parametrize(
    ("accepts", "yes", "no"),
    [
        (is_number, [1, -0.5], [True, "1", float("nan"), float("inf"), None]),
        (is_count, [1, 7], [0, True, 1.0]),
        (is_natural, [0, 3], [-1, False, 0.5]),
        (is_weight, [0, 0.5], [-1, "0"]),
        (one_of("a", "b"), ["a"], ["c", None, ["a"]]),
    ],
)
def test_what_predicates_accept(accepts, yes, no):
    assert all(map(accepts, yes))
    assert not any(map(accepts, no))
