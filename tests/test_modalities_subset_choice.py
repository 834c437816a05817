"""Subsets in the user's words."""

from __future__ import annotations

import pytest

from nnunet_missingmod.modalities import all_subsets, choose_subset, choose_subsets

NAMES = ("FLAIR", "T1", "T1ce", "T2")


def test_all_is_every_subset_in_order():
    assert choose_subsets(["all"], NAMES) == all_subsets(4)
    assert choose_subsets(["ALL", "1"], NAMES) == all_subsets(4)


def test_a_number_is_every_subset_of_that_size():
    assert choose_subsets(["3"], NAMES) == [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]
    assert choose_subsets(["4", "1"], NAMES) == [(0,), (1,), (2,), (3,), (0, 1, 2, 3)]


def test_names_in_any_order_and_any_case_of_letters():
    assert choose_subsets(["t2+flair", "T1ce", "FLAIR+T2"], NAMES) == [(2,), (0, 3)]
    assert choose_subset(["T2", "t1"], NAMES) == (1, 3)


@pytest.mark.parametrize("word", ["0", "5"])
def test_a_size_that_no_subset_has_is_refused(word):
    with pytest.raises(ValueError, match="1 to 4"):
        choose_subsets([word], NAMES)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'T1c' is no modality of FLAIR, T1, T1ce, T2; did you mean T1ce\?"):
        choose_subsets(["T1c+T2"], NAMES)


def test_no_word_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        choose_subsets([], NAMES)
