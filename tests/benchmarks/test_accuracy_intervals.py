"""The intervals of the study of accuracy: over trainings and cases, and how often they hold the truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as students_t

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))

import coverage
from intervals import over_trainings_and_cases


def assert_half_width(found, half):
    """The interval is symmetric about 0."""
    assert (found.low, found.high) == pytest.approx((-half, half))


def test_interval_of_crossed_trainings_and_cases_is_students_with_satterthwaites_degrees_of_freedom():
    # Means of trainings 1 and 3, of cases 1, 2, 3, nothing else: their variances are 2 / 2 and 1 / 3, no rest.
    found = over_trainings_and_cases(np.array([[[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]]))
    variance = 1 + 1 / 3
    half = students_t.ppf(0.975, variance**2 / (1 / 1 + (1 / 9) / 2)) * variance**0.5
    assert (found.mean, found.count) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_the_rest_is_in_the_spread_of_cases_and_of_trainings_and_counts_once():
    values = np.random.default_rng(0).normal(size=(1, 4, 7))
    v_trainings, v_cases = values[0].mean(1).var(ddof=1) / 4, values[0].mean(0).var(ddof=1) / 7
    rest = values[0] - values[0].mean(1, keepdims=True) - values[0].mean(0) + values.mean()
    v_rest = (rest**2).sum() / (3 * 6) / 28
    variance = max(v_trainings + v_cases - v_rest, v_trainings, v_cases)
    freedom = variance**2 / (v_trainings**2 / 3 + v_cases**2 / 6 + v_rest**2 / 18)
    half = students_t.ppf(0.975, freedom) * variance**0.5
    found = over_trainings_and_cases(values)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_folds_with_cases_of_their_own_are_the_draws():
    same = np.full((3, 2, 9), np.nan)
    for fold in range(3):
        same[fold, :, 3 * fold : 3 * fold + 3] = 0.5
    alike = over_trainings_and_cases(same)
    assert (alike.low, alike.high) == (0.5, 0.5)
    found = over_trainings_and_cases(same + np.array([-1.0, 0.0, 1.0])[:, None, None])
    half = students_t.ppf(0.975, 2) * (1 / 3) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_folds_that_are_alike_by_chance_have_the_spread_of_their_trainings_and_cases():
    alike = np.full((2, 2, 8), np.nan)
    alike[0, :, :4] = alike[1, :, 4:] = [[-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0]]
    # In each fold two trainings of variance 2, of which half counts in a mean of two and a quarter in one of two folds.
    half = students_t.ppf(0.975, 2) * 0.5**0.5
    found = over_trainings_and_cases(alike)
    assert_half_width(found, half)
    one = np.full((3, 1, 12), np.nan)
    for fold in range(3):
        one[fold, 0, 4 * fold : 4 * fold + 4] = [-1.0, 1.0, -1.0, 1.0]
    # In each fold four cases of variance 4 / 3: a quarter in their mean, a ninth of that in the mean of three folds.
    half = students_t.ppf(0.975, 9) * (1 / 9) ** 0.5
    found = over_trainings_and_cases(one)
    assert_half_width(found, half)
    assert np.isnan(over_trainings_and_cases(one[:2]).low)


def test_one_training_and_one_case_have_no_interval():
    for values in (np.arange(5.0)[None, None], np.arange(5.0)[None, :, None]):
        found = over_trainings_and_cases(values)
        assert found.mean == 2.0
        assert np.isnan([found.low, found.high]).all()


def test_cases_of_one_patient_count_as_one():
    values = np.random.default_rng(0).normal(size=(1, 4, 12))
    alone = over_trainings_and_cases(np.repeat(values, 3, axis=2), patients=[f"{i // 3:02d}" for i in range(36)])
    once = over_trainings_and_cases(values)
    assert (alone.low, alone.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(
    ("folds", "seeds", "cases", "has"),
    [
        (1, 2, 20, coverage.ALL),
        (1, 3, 12, coverage.ALL),
        (1, 5, 60, coverage.ALL),
        (5, 1, 60, coverage.OWN),
        (10, 1, 60, coverage.DRAWN),
    ],
)
@pytest.mark.parametrize("spread", coverage.SPREADS)
def test_interval_holds_the_truth_as_often_as_it_says(folds, seeds, cases, has, spread):
    found = coverage.coverage(folds, seeds, cases, coverage.SPREADS[spread], has=has, repetitions=500, seed=1)
    assert 0.88 <= found <= 0.99


def test_folds_that_share_patients_have_at_least_the_spread_of_patients():
    values = np.full((3, 1, 8), np.nan)
    for fold in range(3):
        values[fold, 0, 2 * fold : 2 * fold + 4] = [-1.0, 1.0, -1.0, 1.0]
    # Eight cases of variance 8 / 7, each once; the folds are alike.
    half = students_t.ppf(0.975, 7) * (1 / 7) ** 0.5
    found = over_trainings_and_cases(values)
    assert_half_width(found, half)
    # Folds have other cases, but visits of the same four patients.
    visits = np.full((2, 2, 8), np.nan)
    visits[0, :, :4] = visits[1, :, 4:] = [-1.0, 1.0, -1.0, 1.0]
    half = students_t.ppf(0.975, 3) * (1 / 3) ** 0.5
    found = over_trainings_and_cases(visits, patients=list("abcdabcd"))
    assert_half_width(found, half)


def test_trainings_that_have_not_been_run_are_left_out():
    values = np.random.default_rng(0).normal(size=(2, 3, 8))
    values[0, :, 4:], values[1, :, :4] = np.nan, np.nan
    values[1, 2] = np.nan
    found = over_trainings_and_cases(values)
    # Each case counts once, whatever number of trainings its fold has.
    assert found.mean == pytest.approx(np.mean([values[0, :, :4].mean(), values[1, :2, 4:].mean()]))
    assert found.low < found.mean < found.high
    values[1] = np.nan
    assert over_trainings_and_cases(values) == over_trainings_and_cases(values[:1])
    with pytest.raises(ValueError, match="no value"):
        over_trainings_and_cases(values[1:])


def test_trainings_of_a_fold_with_other_cases_are_refused():
    with pytest.raises(ValueError, match="same cases"):
        over_trainings_and_cases(np.array([[[0.0, np.nan], [1.0, 1.0]]]))
