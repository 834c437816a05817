"""What goes with the choices of which modalities are shown, and how tables of them become the dataset's names."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.plans_block import (
    KEYS_OF_METHODS,
    PRETRAINING_KEYS,
    check_choices,
    differences,
    resolve,
    with_numbers,
)

NAMES = ("FLAIR", "T1", "T1+C")
UNIFORM = {"modality_dropout": "uniform"}
SUBSETS = {"modality_subsets": {"FLAIR+T1": 3, "T1": 1}}
TABLE = {"modality_dropout": {"FLAIR": 0.3}}
ENUMERATE = {"network": "parallel", "subset_objective": "enumerate"}


@pytest.mark.parametrize(
    ("block", "own"),
    [
        (TABLE, {}),
        ({**TABLE, "modality_dropout_seed": 3, "modality_dropout_from": 0.1, "modality_dropout_until": 0.4}, UNIFORM),
        ({**TABLE, "two_subsets": True}, {}),
        (SUBSETS, UNIFORM),
        (SUBSETS, {"modality_dropout": "uniform_count"}),
        ({**SUBSETS, **UNIFORM}, {}),
        ({**SUBSETS, "two_subsets": True, "modality_dropout_seed": 1}, UNIFORM),
        ({"modality_subsets": "prevalence.csv"}, UNIFORM),
    ],
)
def test_what_goes_together_is_accepted(block, own):
    check_choices(resolve(block, own), NAMES, own)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({**SUBSETS, "modality_dropout": "none"}, 'modality_subsets does nothing, because modality_dropout is "none"'),
        ({**SUBSETS, "modality_dropout": "bernoulli"}, "modality_subsets and modality_dropout 'bernoulli' both say"),
        ({**SUBSETS, **TABLE}, r"modality_dropout \{'FLAIR': 0.3\} both say which subsets are drawn: leave one"),
        ({**SUBSETS, "modality_subset": ["T1"]}, 'set modality_subset to "all", or leave those out'),
        ({**TABLE, "modality_subset": ["T1"]}, 'set modality_subset to "all", or leave those out'),
        ({**TABLE, **ENUMERATE}, 'set modality_dropout to "none"'),
        ({**SUBSETS, **ENUMERATE, "modality_dropout": "none"}, 'set modality_subsets to "none", or choose a trainer'),
        ({**TABLE, "modality_dropout_probability": 0.3}, 'modality_dropout is not "bernoulli"'),
        ({"modality_dropout": {"FLAIR": 0}}, "modality_dropout names no modality of a probability above 0: give one"),
    ],
)
def test_what_contradicts_or_does_nothing_is_refused_with_the_fix(block, message):
    with pytest.raises(ValueError, match=message):
        check_choices(resolve(block, UNIFORM), NAMES, UNIFORM)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modality_dropout", "uniform_count"),
        ("modality_dropout_probability", 0.9),
        ("modality_dropout_seed", 5),
        ("modality_dropout_from", 0.5),
        ("modality_dropout_until", 0.9),
        ("validation_subsets", "cycle"),
    ],
)
def test_beside_a_fixed_subset_no_key_says_how_others_are_drawn(key, value):
    own = {**UNIFORM, "modality_dropout_probability": 0.5}
    block = {"modality_subset": ["T1"], key: value}
    if key == "modality_dropout_probability":
        own["modality_dropout"] = "bernoulli"
    keys = PRETRAINING_KEYS if key != "modality_dropout_seed" else KEYS_OF_METHODS
    with pytest.raises(ValueError, match=f"{key} does nothing, because .*modality_subset.*: leave it out"):
        check_choices(resolve(block, own, keys=keys), NAMES, own, keys=keys)
    check_choices(resolve({key: value}, {**own, "modality_dropout_until": 0.9}), NAMES, own)
    fixed = {"modality_subset": ["T1"], "modality_dropout": "none"}
    check_choices(resolve(fixed, own), NAMES, own)


def test_the_seed_is_of_the_masks_too():
    block = {"modality_dropout": "none", "modality_dropout_seed": 5}
    check_choices(resolve(block, keys=PRETRAINING_KEYS), NAMES, keys=PRETRAINING_KEYS)
    with pytest.raises(ValueError, match="modality_dropout_seed does nothing, because nothing is dropped"):
        check_choices(resolve(block, keys=KEYS_OF_METHODS), NAMES, keys=KEYS_OF_METHODS)


def test_a_teacher_leaves_subsets_to_its_students():
    choices = resolve(SUBSETS, {"modality_dropout": "none"})
    check_choices(choices, NAMES, choices)


def test_tables_get_the_names_of_the_dataset_in_channel_order_and_resolve_to_themselves():
    found = with_numbers(
        resolve(
            {
                "modality_dropout": {"t1\u200a": 0.2, "flair": 0},
                "modality_subsets": {"t1\\+c+T1": 2, "T1": 0, "FLAIR": 1},
            }
        ),
        NAMES,
    )
    assert list(found["modality_dropout"].items()) == [("FLAIR", 0), ("T1", 0.2)]
    assert list(found["modality_subsets"].items()) == [("FLAIR", 1), ("T1+T1\\+C", 2)]
    again = with_numbers(resolve(json.loads(json.dumps(found))), NAMES)
    assert again == found
    assert not differences(found, again)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"modality_dropout": {"T9": 0.2}}, "modality_dropout: 'T9' is no modality of FLAIR, T1, .*; did you mean T1"),
        ({"modality_dropout": {"": 0.2}}, "modality_dropout: '' is no modality"),
        ({"modality_dropout": {"T1": 0.2, "t1": 0.3}}, "modality_dropout names T1 twice: name it once"),
        ({"modality_subsets": {"T1+T2": 1}}, "modality_subsets: 'T2' is no modality of"),
        ({"modality_subsets": {"T1+T1": 1}}, "modality_subsets: T1 is named twice"),
        ({"modality_subsets": {"T1+FLAIR": 1, "flair+t1": 0}}, r"modality_subsets names FLAIR\+T1 twice"),
    ],
)
def test_names_that_are_none_of_the_dataset_or_stand_twice_are_refused(block, message):
    with pytest.raises(ValueError, match=f'"missingmod" block of the plans: {message}'):
        with_numbers(resolve(block), NAMES)


def test_an_integer_too_large_for_a_float_is_refused_in_words():
    with pytest.raises(ValueError, match="modality_subsets must be"):
        resolve({"modality_subsets": {"T1": 10**400}})
    with pytest.raises(ValueError, match="initial_lr must be number above 0"):
        resolve({"initial_lr": 10**400})
