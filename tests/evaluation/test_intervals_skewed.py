"""The studentised interval against its formula written with loops, and the fast ways against the slow one."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import t as student_t

from nnunet_missingmod.evaluation.intervals import Bootstrap, per_patient

BOOTSTRAP = Bootstrap(resamples=300)
SKEWED = np.exp(np.random.default_rng(4).normal(1.5, 0.8, 24))


def studentised_by_loops(values, resamples, seed):
    """Efron and Tibshirani 1993, section 12.5, for the mean of one value per patient; percentiles as Hesterberg's."""
    number = len(values)
    drawn = np.random.default_rng(seed).multinomial(number, [1 / number] * number, size=resamples)
    error = values.std(ddof=1) / math.sqrt(number)
    ratios = []
    for counts in drawn:
        sample = np.repeat(values, counts)
        if sample.std() > 0:
            ratios.append((sample.mean() - values.mean()) / (sample.std() / math.sqrt(number - 1)))
    widened = math.sqrt(number / (number - 1)) * student_t.ppf(0.975, number - 1)
    tail = 100 * NormalDist().cdf(-widened)
    low, high = np.percentile(ratios, (tail, 100 - tail))
    return values.mean() - high * error, values.mean() - low * error


def test_the_studentised_interval_is_that_of_the_book():
    found = BOOTSTRAP.interval(SKEWED[:, None], skewed=True)
    assert (found.low, found.high) == pytest.approx(studentised_by_loops(SKEWED, 300, 0), rel=1e-9)
    assert found.high - found.mean > found.mean - found.low


def test_limits_stay_within_the_values_that_there_can_be():
    values = np.array([1.0] * 23 + [300.0])[:, None]
    found = BOOTSTRAP.interval(values, skewed=True, bounds=(0.0, 310.0))
    assert 0 <= found.low < found.mean < found.high == 310.0


def test_too_few_patients_have_no_studentised_interval():
    few, enough = (BOOTSTRAP.interval(SKEWED[:number, None], skewed=True) for number in (11, 12))
    assert math.isnan(few.low)
    assert few.mean == pytest.approx(SKEWED[:11].mean())
    assert not math.isnan(enough.low)


def test_equal_values_are_an_interval_of_no_length():
    found = BOOTSTRAP.interval(np.full((25, 2), 3.0), skewed=True)
    assert (found.low, found.mean, found.high) == (3.0, 3.0, 3.0)


def test_cases_of_one_patient_are_not_independent_observations():
    once = BOOTSTRAP.interval(SKEWED[:, None], skewed=True)
    thrice = BOOTSTRAP.interval(np.repeat(SKEWED, 3)[:, None], list(np.repeat(np.arange(24), 3)), skewed=True)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize("skewed", [False, True])
def test_many_intervals_at_once_are_those_of_each(skewed):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(size=(24, columns)) for columns in (1, 3, 2)]
    arrays[1][3, 0] = arrays[2][5] = math.nan
    patients = ["p", "p", *map(str, range(22))]
    together = BOOTSTRAP.intervals(arrays, patients, skewed=skewed)
    assert together == [BOOTSTRAP.interval(each, patients, skewed=skewed) for each in arrays]


def test_with_many_patients_cases_without_a_score_change_nothing_and_limits_near_the_normal_ones():
    values = np.random.default_rng(0).normal(0.7, 0.1, (250, 1))
    padded = np.concatenate([np.full((40, 1), math.nan), values])
    found, again = (Bootstrap(resamples=2000).interval(each) for each in (values, padded))
    assert (again.low, again.high) == (found.low, found.high)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / math.sqrt(250), rel=0.06)


def test_a_patient_has_the_mean_of_all_of_its_values():
    values = np.array([[1.0, 2.0], [6.0, math.nan], [math.nan, math.nan], [5.0, 7.0]])
    np.testing.assert_array_equal(per_patient(values, ["p", "p", "q", "r"]), [3.0, 6.0])
