"""How often subsets occur: the file, what is refused in it, and the mean that is weighted by it."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.evaluation.aggregation import pool, subset_columns
from nnunet_missingmod.evaluation.prevalence import (
    HEADING,
    check_prevalence,
    prevalence_column,
    prevalence_text,
    read_prevalence,
)
from nnunet_missingmod.evaluation.report.tables import region_table, table_of
from nnunet_missingmod.evaluation.report.text import to_csv
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.statistics import Bootstrap

NAMES = ("T1", "T2")
DICE = {"T1": 0.2, "T2": 0.4, "T1+T2": 0.9}


def row(case, subset, region, dice, model="m"):
    return ScoreRow(model, "0", case, subset, subset.count("+") + 1, region, dice, 1.0, 0.5, 1.0, 10, 10, 30.0)


def rows(model="m", shift=0.0, regions=("A", "B")):
    return [
        row(f"c{index}", subset, region, dice + 0.01 * index + shift - 0.1 * (region == "B"), model)
        for index in range(5)
        for subset, dice in DICE.items()
        for region in regions
    ]


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "prevalence.csv").write_text(text)
        return tmp_path / "prevalence.csv"

    return write


def test_the_weighted_mean_is_that_of_the_means_under_each_subset():
    column = prevalence_column({(0,): 3, (0, 1): 1}, NAMES)
    assert (column.heading, column.subsets, column.weights) == (HEADING, ((0,), (0, 1)), (0.75, 0.25))
    table = region_table(rows(regions=("A",)), (*subset_columns(NAMES), column), modalities=NAMES)
    t1, _, both, uniform, weighted = table.rows[0].values
    assert weighted == pytest.approx(0.75 * t1 + 0.25 * both) == pytest.approx(0.395)
    assert uniform == pytest.approx(0.52)


def test_its_interval_is_that_of_the_patients_own_weighted_means():
    column = prevalence_column({(0,): 3, (0, 1): 1}, NAMES)
    values = pool([*rows(), *rows("n", 0.1)], modalities=NAMES)
    bootstrap = Bootstrap(resamples=200)
    table = table_of(
        values,
        (*subset_columns(NAMES), column),
        differences=[("n", "m")],
        bootstrap=bootstrap,
        regions={"A": ("A",), "mean": ("A", "B")},
    )
    own = values.of("m", ["A", "B"], column.subsets).reshape(5, 2, 2).mean(axis=1) @ [0.75, 0.25]
    of_mean = next(row for row in table.rows if (row.region, row.model) == ("mean", "m"))
    expected = bootstrap.interval(own[:, None])
    assert of_mean.values[-1] == pytest.approx(expected.mean)
    assert (of_mean.intervals[-1].low, of_mean.intervals[-1].high) == pytest.approx((expected.low, expected.high))
    difference = next(row for row in table.rows if row.is_difference)
    assert difference.values[-1] == pytest.approx(0.1)
    # It is a further mean, and not a further test.
    assert difference.marks[-1] == ""
    assert np.isnan(difference.p_holm[-1])
    assert HEADING not in {each.heading for each in table.comparisons}
    assert to_csv(table).splitlines()[0].count(HEADING) == 4


def test_columns_of_unequal_cases_are_weighted_after_their_own_means():
    values = np.array([[0.0, 1.0], [0.5, np.nan], [1.0, 0.0]])
    interval = Bootstrap(resamples=500).interval(values, None, np.array([0.9, 0.1]))
    assert interval.mean == pytest.approx(0.5)
    assert interval.count == 2
    assert interval.low < 0.5 < interval.high
    assert np.isnan(Bootstrap().interval(np.array([[np.nan, 1.0]] * 3), None, np.array([0.5, 0.5])).mean)


def test_a_subset_that_occurs_without_scores_leaves_the_mean_undefined():
    column = prevalence_column({(0,): 1, (0, 1): 1}, NAMES)
    some = [each for each in rows() if each.subset != "T1+T2"]
    assert np.isnan(region_table(some, (column,), modalities=NAMES).rows[0].values[0])


def test_the_file_counts_cases_and_is_read_back(write):
    text = prevalence_text([["T2", "T1"], ["T1"], [], ["T1", "T2"]], NAMES)
    assert text == "subset,count\nT1,1\nT1+T2,2\n"
    assert read_prevalence(write(text), NAMES) == {(0,): 1, (0, 1): 2}


def test_counts_may_be_shares_in_any_spelling_and_zeros_are_left_out(write):
    text = "Count, Subset ,note\n0.25,t2_t1,x\n0,T1,\n0.75,T2\n"
    assert read_prevalence(write(text), NAMES) == {(1,): 0.75, (0, 1): 0.25}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subset,count\nT1,1\nT9,2\n", "line 3: 'T9' is no subset of T1, T2"),
        ("subset,count\nT1+T2,1\nT2+T1,2\n", r"lines 2 and 3 are both T1\+T2"),
        ("subset,count\nT1,0\nT2,0\n", "no subset has a count above 0"),
        ("subset,count\nT1,many\n", "line 2: a count is a number from 0, got 'many'"),
        ("subset,count\nT1,-1\n", "got '-1'"),
        ("subset,count\nT1,inf\n", "got 'inf'"),
        ("subset,count\nT1\n", "got ''"),
        ("T1,5\n", "first line must be subset,count, got 't1,5'"),
        ("subset,count\n", "no line below"),
        ("", "first line must be subset,count"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_prevalence(write(text), NAMES)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.csv cannot be read: No such file"):
        read_prevalence(tmp_path / "nowhere.csv", NAMES)


def test_subsets_that_would_not_be_evaluated_are_named_with_their_share():
    check_prevalence({(0,): 3, (0, 1): 1}, [(0,), (0, 1)], NAMES)
    with pytest.raises(ValueError, match=r"T1\+T2 \(25 % of the counts\) would not be evaluated"):
        check_prevalence({(0,): 3, (0, 1): 1}, [(0,)], NAMES)
