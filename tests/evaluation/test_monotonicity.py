from __future__ import annotations

import math

import pytest
from evaluation.evaluation_rows import AB, row, rows_of

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import NNUNET
from nnunet_missingmod.evaluation.monotonicity import drops


def drops_of(rows, modalities=AB, convention=None, **more):
    found = drops(pool(rows, modalities=modalities, convention=convention), **more)
    return {(each.model, each.region, each.modality): each for each in found}


def test_a_drop_is_more_than_a_point_with_one_modality_more():
    # A + B against A: -0.02, -0.01, +0.1; against B: -0.005, 0.0, -0.3. A point itself is no drop.
    rows = rows_of({"A": (0.50, 0.60, 0.70), "B": (0.485, 0.59, 1.0), "A+B": (0.48, 0.59, 0.80)})
    found = drops_of(rows)
    share = {key[2]: (each.share.mean, each.pairs, each.left_out) for key, each in found.items()}
    assert share == {
        "all": (pytest.approx(2 / 6), 6, 0),
        "B": (pytest.approx(1 / 3), 3, 0),
        "A": (pytest.approx(1 / 3), 3, 0),
    }
    assert math.isnan(found["ours", "ET", "all"].share.low)
    many = rows_of({"A": (0.5,) * 20, "A+B": (0.4, 0.6) * 10})
    share = drops_of(many)["ours", "ET", "B"].share
    assert 0 < share.low < share.mean == 0.5 < share.high < 1


def test_pairs_that_lack_a_score_are_left_out_and_counted():
    rows = rows_of({"A": (0.5, None, 0.6), "A+B": (0.4, 0.5)})
    each = drops_of(rows, convention=NNUNET)["ours", "ET", "B"]
    assert (each.share.mean, each.pairs, each.left_out) == (1.0, 1, 2)


def test_of_several_regions_the_mean_is_compared():
    rows = [
        row(dice, subset=subset, region=region)
        for region, before, after in (("WT", 0.5, 0.6), ("ET", 0.5, 0.45))
        for subset, dice in (("A", before), ("A+B", after))
    ]
    found = drops_of(rows, regions={"WT": ("WT",), "ET": ("ET",), "mean": ("WT", "ET")})
    assert {key[1]: each.share.mean for key, each in found.items() if key[2] == "all"} == {"WT": 0, "ET": 1, "mean": 0}


def test_several_cases_of_a_patient_are_one_observation():
    rows = rows_of({"A": (0.5,) * 40, "A+B": (0.4, 0.4, 0.6, 0.6) * 10})
    one, twenty = (
        drops_of(rows, patients=patients)["ours", "ET", "B"].share
        for patients in (
            {f"c{case}": "p" for case in range(40)},
            {f"c{case}": f"p{case // 2}" for case in range(40)},
        )
    )
    assert math.isnan(one.low)
    assert (one.count, twenty.count) == (1, 20)
    apart = drops_of(rows)["ours", "ET", "B"].share
    assert twenty.high - twenty.low > 1.3 * (apart.high - apart.low)


def test_one_modality_has_no_pairs():
    assert drops_of([row(0.5)], ("A",)) == {}
