"""What the ranges of keys accept, and how they say it."""

from __future__ import annotations

import pytest

from nnunet_missingmod import keys
from nnunet_missingmod.keys import Range, one_of, one_of_or_probabilities

# Of every range: values that it accepts, and values that it does not.
EXAMPLES = {
    "COUNT": ([1, 7], [0, -1, True, 1.0, "3"]),
    "NATURAL": ([0, 3], [-1, False, 0.5]),
    "POSITIVE": ([1, 0.5], [0, -0.5, True, "1", float("nan"), float("inf")]),
    "WEIGHT": ([0, 0.5], [-1, "0", True, float("nan"), float("inf")]),
    "BELOW_ONE": ([0, 0.99], [1, -0.1, "half", True]),
    "SHARE": ([0, 0.5, 1], [1.1, -0.1, "1"]),
    "POSITIVE_SHARE": ([0.01, 0.5, 1], [0, 1.1, -0.1, "1", True, float("nan")]),
    "SWITCH": ([True, False], [0, 1, "true"]),
    "EXPONENT": ([0.5, 2], [1, 0, -2, "2"]),
    "CHANNELS_OR_ALL": (["all", ["T1"], ["T1", "T2"], [0, 2]], ["T1", [], [None], 3, [True]]),
    "CHANNEL_OR_AUTO": (["auto", "T1"], [3, ["T1"]]),
    "DECAY": (["auto", 0, 0.995], [1, -0.1, "half", True]),
    "TEACHER": (["auto", "average", "nnUNetTrainer", "/a/folder"], ["", 5]),
    "SUBSTITUTION": (
        ["learned", "brats", {"T1": ["T2"], "T2": ["T1"]}, [[1], [0]]],
        ["list", 3, ["T1"], {"T1": "T2"}, [["T1"]]],
    ),
    "SUBSET_WEIGHTS": (
        ["none", "prevalence.csv", {"T2+DWI": 3, "T2": 0}, {"T1": 0.5}],
        ["", "  ", 3, [], {}, {"T1": 0}, {"T1": -1}, {"T1": "3"}, {"T1": True}, {"T1": float("nan")}, ["T1"]],
    ),
    "LEVEL_WEIGHTS": (["depth", "deepest", [0, 1, 2.5]], ["deep", [], [-1, 1], [0, 0], 3]),
}
RANGES = {name: value for name, value in vars(keys).items() if isinstance(value, Range)}


@pytest.mark.parametrize("name", RANGES)
def test_what_ranges_accept(name):
    accepted, refused = EXAMPLES[name]
    assert all(map(RANGES[name].accepts, accepted))
    assert not any(map(RANGES[name].accepts, refused))


def test_a_range_of_names_accepts_them_alone_and_lists_them():
    made = one_of("a", "b", "c")
    assert (made.words, made.values) == ('"a", "b" or "c"', ("a", "b", "c"))
    assert all(map(made.accepts, made.values))
    assert not any(map(made.accepts, ["d", "A", None, ["a"], 1, True]))
    assert one_of("a").words == '"a"'


def test_a_range_of_names_or_probabilities_accepts_both():
    made = one_of_or_probabilities("none", "b")
    assert (made.words, made.values) == ('"none", "b", or {"modality": probability below 1, ...}', ("none", "b"))
    assert all(map(made.accepts, ["none", "b", {"T1": 0.3}, {"T1": 0, "T2": 0.99}]))
    assert not any(map(made.accepts, ["a", None, 1, ["b"], {}, {"T1": 1}, {"T1": -0.1}, {"T1": "0.3"}, {"T1": True}]))
    assert not any(map(made.accepts, [{"T1": None}, {"T1": float("nan")}, {"T1": 10**400}]))
