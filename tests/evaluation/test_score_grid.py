from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, row

from nnunet_missingmod.evaluation.score_grid import grid_of, owners_of


def test_values_of_runs_are_averaged_at_the_place_of_their_case():
    rows = [
        row(0.5, case="c1", subset="A+B", fold="1"),
        row(0.5, case="c0", subset="B"),
        row(0.5, case="c1", subset="A+B", fold="0"),
        row(0.5, model="theirs", case="c0", subset="A"),
    ]
    grid = grid_of(rows, AB)
    assert (grid.models, grid.regions, grid.cases) == (("ours", "theirs"), ("ET",), ("c0", "c1"))
    assert grid.subsets == ((0,), (1,), (0, 1))
    assert [(each.model, each.case, each.fold) for each in grid.rows] == [
        ("ours", "c0", "0"), ("ours", "c1", "0"), ("ours", "c1", "1"), ("theirs", "c0", "0"),
    ]  # fmt: skip
    found = grid.mean([7.0, 1.0, 2.0, 3.0])
    assert found.shape == grid.shape == (2, 1, 2, 3)
    np.testing.assert_array_equal(found[0, 0], [[math.nan, 7.0, math.nan], [math.nan, math.nan, 1.5]])
    np.testing.assert_array_equal(found[1, 0], [[3.0, math.nan, math.nan], [math.nan] * 3])


def test_undefined_values_leave_the_mean_of_the_runs():
    grid = grid_of([row(0.5, fold="0"), row(0.5, fold="1")], AB)
    assert grid.mean([math.nan, 4.0]) == [[[[4.0]]]]
    assert math.isnan(grid.mean([math.nan, math.nan])[0, 0, 0, 0])


def test_rows_that_have_no_place_are_refused():
    with pytest.raises(ValueError, match="no score rows"):
        grid_of([], AB)
    with pytest.raises(ValueError, match="c0: 'C' is no subset of A, B"):
        grid_of([row(0.5, subset="C")], AB)


def test_a_case_without_a_patient_is_its_own():
    assert owners_of(["c0", "c1", "c2"], {"c0": "p", "c2": "p"}) == ["p", "c1", "p"]
    assert owners_of(["c0"], None) == ["c0"]
