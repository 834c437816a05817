"""How often subsets occur: the file, what is refused in it, and the mean that is weighted by it."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.evaluation.aggregation import pool, subset_columns
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.prevalence import (
    HEADING,
    check_prevalence,
    prevalence_column,
)
from nnunet_missingmod.evaluation.report.tables import region_table, table_of
from nnunet_missingmod.evaluation.report.text import to_csv
from nnunet_missingmod.evaluation.scores import ScoreRow

NAMES = ("T1", "T2")
DICE = {"T1": 0.2, "T2": 0.4, "T1+T2": 0.9}


def row(case, subset, region, dice, model="m"):
    return ScoreRow(model, "0", case, subset, subset.count("+") + 1, region, dice, 1.0, 0.5, 1.0, 10, 10, 30.0)


def rows(model="m", shift=0.0, regions=("A", "B")):
    return [
        row(f"c{index}", subset, region, dice + 0.01 * index + shift - 0.1 * (region == "B"), model)
        for index in range(6)
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
    assert weighted == pytest.approx(0.75 * t1 + 0.25 * both) == pytest.approx(0.4)
    assert uniform == pytest.approx(0.525)


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
    own = values.of("m", ["A", "B"], column.subsets).reshape(6, 2, 2).mean(axis=1) @ [0.75, 0.25]
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
    scores = {"T1": (0.0, 0.5, 1.0) * 3, "T1+T2": (1.0, None, 0.0) * 3}
    some = [
        row(f"c{case}", subset, "A", dice)
        for subset, of_subset in scores.items()
        for case, dice in enumerate(of_subset)
        if dice is not None
    ]
    column = prevalence_column({(0,): 9, (0, 1): 1}, NAMES)
    table = table_of(pool(some, modalities=NAMES), (column,), bootstrap=Bootstrap(resamples=500))
    (interval,) = table.rows[0].intervals
    assert interval.mean == pytest.approx(0.5)
    assert interval.count == 6
    assert interval.low < 0.5 < interval.high


def test_a_subset_that_occurs_without_scores_leaves_the_mean_undefined():
    column = prevalence_column({(0,): 1, (0, 1): 1}, NAMES)
    some = [each for each in rows() if each.subset != "T1+T2"]
    assert np.isnan(region_table(some, (column,), modalities=NAMES).rows[0].values[0])


def test_subsets_that_would_not_be_evaluated_are_named_with_their_share():
    check_prevalence({(0,): 3, (0, 1): 1}, [(0,), (0, 1)], NAMES)
    with pytest.raises(ValueError, match=r"T1\+T2 \(25 % of the counts\) would not be evaluated"):
        check_prevalence({(0,): 3, (0, 1): 1}, [(0,)], NAMES)
