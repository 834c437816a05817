from __future__ import annotations

import math
import random

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, random_rows, row, rows_of

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import BRATS, DICE, HD95, NNUNET, NSD
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.statistics import value_intervals
from nnunet_missingmod.modalities import subset_name


def test_every_value_stands_at_its_model_region_case_and_subset():
    rows = random_rows(models=("ours", "theirs"))
    values = pool(rows, modalities=("FLAIR", "T1", "T1ce", "T2"))
    assert (values.models, values.regions, values.cases) == (("ours", "theirs"), ("WT", "ET"), ("c0", "c1", "c2"))
    for each in rows:
        array = values.arrays[each.model, each.region]
        subset = [subset_name(subset, values.modalities) for subset in values.subsets].index(each.subset)
        assert array[values.cases.index(each.case), subset] == each.dice
    assert sum(array.size for array in values.arrays.values()) == len(rows)


def test_the_order_of_rows_does_not_matter():
    rows = random_rows(cases=4, regions=("ET",))
    shuffled = random.Random(0).sample(rows, len(rows))
    common = {"modalities": ("FLAIR", "T1", "T1ce", "T2")}
    first, second = pool(rows, **common), pool(shuffled, **common)
    assert first.cases == second.cases
    np.testing.assert_array_equal(first.arrays["ours", "ET"], second.arrays["ours", "ET"])


def test_cross_validation_folds_pool_their_cases():
    rows = [row(0.1 * case, case=f"c{case}", fold=str(case % 2)) for case in range(4)]
    values = pool(rows, modalities=AB)
    np.testing.assert_allclose(values.of("ours", ["ET"], [(0,)])[:, 0], [0.0, 0.1, 0.2, 0.3])


def test_a_case_that_several_folds_scored_is_one_observation():
    rows = [row(0.2, fold="0"), row(0.6, fold="1"), row(1.0, fold="1", case="c1")]
    values = pool(rows, modalities=AB)
    np.testing.assert_allclose(values.of("ours", ["ET"], [(0,)])[:, 0], [0.4, 1.0])


def test_runs_without_a_defined_score_leave_the_average_within_a_case():
    rows = [row(None, fold="0"), row(0.0, reference=0, fold="1"), row(None, case="c1")]
    found = pool(rows, modalities=AB, convention=NNUNET).of("ours", ["ET"], [(0,)])[:, 0]
    np.testing.assert_array_equal(found, [0.0, math.nan])
    np.testing.assert_allclose(pool(rows, modalities=AB).of("ours", ["ET"], [(0,)])[:, 0], [0.5, 1.0])


def test_metric_and_convention_decide_which_number_is_taken():
    rows = [row(0.5, hd95_mm=7.0, nsd=0.25), row(0.0, case="c1", predicted=0), row(None, case="c2")]

    def column(metric, convention):
        return pool(rows, modalities=AB, metric=metric, convention=convention).of("ours", ["ET"], [(0,)])[:, 0]

    np.testing.assert_array_equal(column(DICE, BRATS), [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(column(HD95, BRATS), [7.0, 373.13, 0.0])
    np.testing.assert_array_equal(column(HD95, NNUNET), [7.0, 250.0, math.nan])
    np.testing.assert_array_equal(column(NSD, NNUNET), [0.25, 0.0, math.nan])


def test_regions_and_subsets_lie_side_by_side():
    rows = [
        row(value, region=region, subset=subset)
        for value, (region, subset) in enumerate([("WT", "A"), ("WT", "A+B"), ("ET", "A"), ("ET", "A+B")])
    ]
    values = pool(rows, modalities=AB)
    np.testing.assert_array_equal(values.of("ours", ["WT", "ET"], [(0,), (1, 0)]), [[0, 1, 2, 3]])
    np.testing.assert_array_equal(values.of("ours", ["ET"], [(1,)]), [[math.nan]])
    assert values.scored == ((0,), (0, 1))


def test_a_difference_is_undefined_where_one_model_has_no_score():
    rows = rows_of({"A": (0.9, 0.5, 0.7)}) + rows_of({"A": (0.8, None)}, model="theirs")
    difference = pool(rows, modalities=AB, convention=NNUNET).difference("ours", "theirs", ["ET"], [(0,)])
    np.testing.assert_allclose(difference[:, 0], [0.1, math.nan, math.nan])


def test_only_the_subsets_of_the_rows_are_held():
    names = tuple(f"m{channel}" for channel in range(60))
    values = pool([row(0.5, subset="m59"), row(0.7, subset="m1+m2")], modalities=names)
    assert values.subsets == values.scored == ((59,), (1, 2))
    np.testing.assert_array_equal(values.of("ours", ["ET"], [(1, 2), (5,), (59,)]), [[0.7, math.nan, 0.5]])


def test_subsets_of_names_with_special_characters_are_recognised():
    names = ("T1+C", "all", "2", "-x", "a\\b")
    rows = random_rows(modalities=names, regions=("ET",), cases=2)
    values = pool(rows, modalities=names)
    assert len(values.subsets) == 31
    assert not np.isnan(values.arrays["ours", "ET"]).any()
    for wrong in ("all", "T1+C", "2", "full", "ALL"):
        with pytest.raises(ValueError, match="is no subset of"):
            pool([row(0.5, subset=wrong)], modalities=names)


def test_rows_that_cannot_be_pooled_are_refused():
    with pytest.raises(ValueError, match="no score rows"):
        pool([], modalities=AB)
    with pytest.raises(ValueError, match="ours, fold '0', c0, A, ET is scored twice"):
        pool([row(0.5), row(0.6)], modalities=AB)
    with pytest.raises(ValueError, match="'A' is no subset of X, Y"):
        pool([row(0.5)], modalities=("X", "Y"))
    mixed = [row(0.5), row(0.5, case="c1", nsd_tolerance_mm=2.0)]
    with pytest.raises(ValueError, match=r"\[1.0, 2.0\] mm"):
        pool(mixed, modalities=AB, metric=NSD)
    assert pool(mixed, modalities=AB).cases == ("c0", "c1")


def test_hd95_of_a_file_may_be_larger_than_the_images_and_its_interval_too():
    """Twenty values of 10 and 600 mm in turn: their mean is 305 mm, and its upper limit no 373.13 mm."""
    ours = [row(0.5, case=f"c{case:02d}") for case in range(20)]
    outside = [
        row(0.5, model="outside", case=f"c{case:02d}", reference=-1, predicted=-1, hd95_mm=far, diagonal_mm=math.nan)
        for case, far in enumerate((10.0, 600.0) * 10)
    ]
    for rows in ([*ours, *outside], [*outside, *ours]):
        values = pool(rows, modalities=AB, metric=HD95, convention=BRATS)
        assert values.bounds == (0.0, 600.0)
        scores = [values.of("outside", ["ET"], [(0,)])]
        (interval,) = value_intervals(values, scores, values.owners(None), Bootstrap(resamples=500))
        assert interval.mean == 305.0
        assert 400 < interval.high < 600
    assert pool(ours, modalities=AB, metric=HD95, convention=BRATS).bounds == (0.0, 373.13)
