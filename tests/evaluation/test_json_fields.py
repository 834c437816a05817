"""Values are what they are said to be, or refused under their name and place."""

from __future__ import annotations

from math import isnan

import pytest

from nnunet_missingmod.evaluation.json_fields import Fields, ImpossibleError, shortened


def test_values_of_every_type():
    fields = Fields(
        {"t": "x", "n": 3, "u": None, "b": False, "l": ["a", "b"], "r": [0, 0, 1], "o": {"n": 0.5}}, "the file"
    )
    assert fields.text("t") == "x"
    assert fields.number("n") == 3.0
    assert fields.whole("n", least=3) == 3
    assert isnan(fields.number_or_nan("u"))
    assert fields.truth("b") is False
    assert fields.texts("l") == ("a", "b")
    assert fields.ascending("r", strictly=False) == (0, 0, 1)
    assert fields.part("o").number("n", least=0, most=1) == 0.5


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda f: f.number("b"), "'b' of the file is True and not a number"),
        (lambda f: f.truth("n"), "'n' of the file is 3 and not true or false"),
        (lambda f: f.number("n", least=4, most=5), "'n' of the file is 3, which is outside of 4..5"),
        (lambda f: f.number_or_nan("missing"), "'missing' of the file is None and not a number"),
        (lambda f: f.ascending("r", strictly=True), "'r' of the file holds 0 after 0"),
        (lambda f: f.part("o").number("q"), "'q' of o, the file is None"),
        (lambda f: Fields([], "a list"), "a list is no object"),
    ],
)
def test_other_values_are_refused_by_name_and_place(read, message):
    fields = Fields({"b": True, "n": 3, "r": [0, 0], "o": {}}, "the file")
    with pytest.raises(ImpossibleError, match=message):
        read(fields)


def test_a_long_value_is_shown_in_short():
    assert len(shortened("x" * 10_000)) < 100
