from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import t as student_t

from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, SKEWED_FROM, Bootstrap, Interval, column_mean


def replicates_by_loops(values, patients, resamples, seed):
    """Redraw patients with the same counts and take means with plain loops."""
    owners = list(dict.fromkeys(patients))
    counts = np.random.default_rng(seed).multinomial(len(owners), [1 / len(owners)] * len(owners), size=resamples)
    found = []
    for drawn in counts:
        means = []
        for column in values.T:
            sample = [
                value
                for owner, times in zip(owners, drawn, strict=True)
                for value, of in zip(column, patients, strict=True)
                if of == owner
                for _ in range(times)
                if not math.isnan(value)
            ]
            means.append(sum(sample) / len(sample) if sample else math.nan)
        found.append(sum(means) / len(means))
    return [mean for mean in found if not math.isnan(mean)]


def expanded(confidence, patients):
    """Hesterberg 2015: percent below the lower limit. scipy's t stands for a table of quantiles."""
    widened = math.sqrt(patients / (patients - 1)) * student_t.ppf((1 + confidence) / 2, patients - 1)
    return 100 * NormalDist().cdf(-widened)


@pytest.mark.parametrize("with_gaps", [False, True])
@pytest.mark.parametrize("patients", [None, ["p", "q", "q", "r", "s", "s", "t", "u", "v"]])
def test_limits_are_percentiles_of_the_means_of_resampled_patients(patients, with_gaps):
    values = np.random.default_rng(1).uniform(size=(9, 3))
    if with_gaps:
        values[2, 1] = values[4, 0] = values[5, 0] = math.nan
    found = Bootstrap(resamples=200, confidence=0.9, seed=3).interval(values, patients)
    means = replicates_by_loops(values, patients or list("abcdefghi"), 200, 3)
    owners = patients or list("abcdefghi")
    fewest = min(
        len({owner for owner, value in zip(owners, column, strict=True) if not math.isnan(value)})
        for column in values.T
    )
    tail = expanded(0.9, fewest)
    assert tail < 5
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, (tail, 100 - tail))), abs=1e-12)
    assert found.mean == pytest.approx(np.nanmean(values, axis=0).mean())
    assert found.count == (7 if with_gaps else 9)


@pytest.mark.parametrize("skewed", [False, True])
def test_a_mean_over_columns_counts_the_patients_of_the_column_with_the_fewest(skewed):
    values = np.random.default_rng(4).uniform(size=(40, 2))
    shown_from = SKEWED_FROM if skewed else SHOWN_FROM
    for number in (1, 2, shown_from - 1, shown_from):
        few = values.copy()
        few[number:, 1] = math.nan
        found, alone = Bootstrap(resamples=200).intervals([few, few[:, 1:]], skewed=skewed)
        assert math.isnan(found.low) == math.isnan(alone.low) == (number < shown_from)
    # And it is as much wider as that number asks for.
    if not skewed:
        means = replicates_by_loops(few, [str(case) for case in range(40)], 200, 0)
        tail = expanded(0.95, shown_from)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, (tail, 100 - tail))), abs=1e-12)


def test_fewer_than_six_patients_have_a_mean_and_no_interval():
    few = Bootstrap(resamples=100).interval(np.linspace(0.2, 0.6, 5)[:, None])
    assert (few.mean, few.count) == (pytest.approx(0.4), 5)
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    cases = Bootstrap(resamples=100).interval(np.linspace(0.2, 0.6, 10)[:, None], list("ppqqrrsstt"))
    assert math.isnan(cases.low)
    enough = Bootstrap(resamples=100).interval(np.linspace(0.2, 0.7, 6)[:, None])
    assert enough.low < 0.45 < enough.high


def test_the_interval_of_a_mean_nears_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.7, 0.1, size=(400, 1))
    found = Bootstrap(resamples=4000).interval(values)
    half = NormalDist().inv_cdf(0.975) * values.std() / math.sqrt(400)
    assert found.high - found.mean == pytest.approx(half, rel=0.06)
    assert found.mean - found.low == pytest.approx(half, rel=0.06)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    bootstrap = Bootstrap(resamples=400, confidence=0.8)
    found = [bootstrap.interval(rng.normal(0.5, 0.2, size=(40, 1))) for _ in range(400)]
    assert np.mean([each.low <= 0.5 <= each.high for each in found]) == pytest.approx(0.8, abs=0.06)


def test_subsets_of_a_case_are_not_independent_observations():
    """Fifteen copies of a column carry no more information than one."""
    column = np.random.default_rng(2).uniform(size=(20, 1))
    bootstrap = Bootstrap(resamples=500)
    once, often = bootstrap.interval(column), bootstrap.interval(np.repeat(column, 15, axis=1))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_cases_of_one_patient_are_not_independent_observations():
    of_patient = np.random.default_rng(2).uniform(size=(20, 1))
    bootstrap = Bootstrap(resamples=500)
    patients = np.arange(60) // 3
    together = bootstrap.interval(np.repeat(of_patient, 3, axis=0), list(patients))
    apart = bootstrap.interval(np.repeat(of_patient, 3, axis=0))
    alone = bootstrap.interval(of_patient)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert apart.high - apart.low < 0.75 * (together.high - together.low)


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not():
    values = np.random.default_rng(0).uniform(size=(9, 2))
    first = Bootstrap(resamples=300, seed=1).interval(values)
    assert Bootstrap(resamples=300, seed=1).interval(values) == first
    assert Bootstrap(resamples=300, seed=2).interval(values) != first


def test_cases_without_any_score_change_nothing():
    values = np.random.default_rng(0).uniform(size=(9, 2))
    padded = np.concatenate([np.full((3, 2), math.nan), values])
    assert Bootstrap(resamples=300).interval(padded) == Bootstrap(resamples=300).interval(values)


def test_what_has_no_interval_says_so():
    bootstrap = Bootstrap(resamples=100)
    one = bootstrap.interval(np.array([[0.5, 0.7]]))
    assert (one.mean, one.count) == (pytest.approx(0.6), 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    one_patient = bootstrap.interval(np.array([[0.5], [0.7]]), ["p", "p"])
    assert math.isnan(one_patient.low)
    undefined = bootstrap.interval(np.array([[0.5, math.nan], [0.7, math.nan]]))
    assert math.isnan(undefined.mean)
    assert undefined.count == 0


def test_the_mean_over_columns_does_not_favour_columns_with_many_cases():
    values = np.array([[0.0, 1.0], [0.0, math.nan], [0.0, math.nan]])
    assert column_mean(values) == (0.5, 1)
    assert column_mean(np.empty((0, 2)))[1] == 0


def test_json_has_null_for_what_is_undefined():
    assert Interval(0.5, math.nan, math.nan, 1).as_json() == {"mean": 0.5, "low": None, "high": None, "count": 1}


def test_a_bootstrap_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="100 resamples or more, got 99"):
        Bootstrap(resamples=99)
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        Bootstrap(confidence=95)
    with pytest.raises(ValueError, match="3 cases has a patient, got 2"):
        Bootstrap().interval(np.zeros((3, 1)), ["p", "q"])
