"""Which cases and subsets are drawn is chosen by a rule; where no Dice is defined there are none."""

from __future__ import annotations

from dataclasses import replace
from math import nan

from benchmarking.some_rows import EVERY, TASK, row, some_rows

from nnunet_missingmod.benchmarking.pictures import hardest_of_each_size, spread_cases
from nnunet_missingmod.evaluation.conventions import BRATS, NNUNET


def test_the_hardest_subset_of_each_size_is_shown():
    assert hardest_of_each_size(some_rows(), EVERY, TASK, BRATS) == [(2,), (1, 2), (0, 1, 2)]
    assert hardest_of_each_size(some_rows(), [(0,), (1,), (0, 1, 2)], TASK, BRATS) == [(1,), (0, 1, 2)]


def test_cases_at_the_quartiles_are_shown():
    assert spread_cases(some_rows(), BRATS) == ["case1", "case2", "case3"]
    assert spread_cases([row("only", (0,), 0.5)], BRATS) == ["only"]


def test_cases_without_a_region_are_shown_only_if_there_are_no_others():
    empty = [row("empty", (0,), 0.0, reference=0)]
    assert spread_cases([*empty, row("full", (0,), 0.5)], BRATS) == ["full"]
    assert spread_cases(empty, BRATS) == ["empty"]


def test_without_a_defined_dice_there_is_nothing_to_draw():
    healthy = [row("healthy", subset, nan, reference=0, predicted=0) for subset in EVERY]
    assert hardest_of_each_size(healthy, EVERY, TASK, NNUNET) == []
    assert spread_cases(healthy, NNUNET) == []


def test_cases_without_a_defined_dice_have_no_place_among_the_others():
    healthy = [row(case, (0,), nan, reference=0, predicted=0) for case in "bd"]
    others = [row(case, (0,), dice) for case, dice in {"a": 0.9, "c": 0.1, "e": 0.5}.items()]
    missing_a_region = [replace(each, region="core", reference_voxels=0) for each in others]
    assert spread_cases([*healthy, *others, *missing_a_region], NNUNET) == ["c", "e", "a"]
