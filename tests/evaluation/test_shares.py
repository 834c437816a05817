"""Shares and F1: Wilson's interval by hand, patients of several trials, and what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student_t

from nnunet_missingmod.evaluation.shares import f1_interval, share_interval


def wilson(share, trials, z):
    """Wilson 1927: the roots p of (share - p)^2 = z^2 p (1 - p) / trials."""
    roots = np.roots([1 + z * z / trials, -(2 * share + z * z / trials), share**2])
    return tuple(sorted(np.clip(roots.real, 0, 1)))


def test_with_one_trial_a_patient_it_is_wilsons_interval():
    events = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0] * 2)
    found = share_interval(events, np.ones(20))
    assert (found.mean, found.count) == (0.3, 20)
    assert (found.low, found.high) == pytest.approx(wilson(0.3, 20, student_t.ppf(0.975, 19)), abs=1e-9)


def test_fewer_than_15_patients_have_a_share_and_no_interval():
    few, enough = (share_interval(np.array([1] * 5 + [0] * more), np.ones(5 + more)) for more in (9, 10))
    assert (few.mean, few.count) == (5 / 14, 14)
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert enough.low < 5 / 15 < enough.high


@pytest.mark.parametrize("share", [0, 1])
def test_none_and_all_have_an_interval_of_as_many_trials_as_patients(share):
    found = share_interval(np.full(22, 28 * share), np.full(22, 28))
    assert found.mean == share
    assert (found.low, found.high) == pytest.approx(wilson(share, 22, student_t.ppf(0.975, 21)), abs=1e-9)


def test_trials_of_one_patient_are_not_independent():
    events = np.array([1, 0, 0, 1, 0, 0] * 4)
    once = share_interval(events, np.ones(24))
    alike = share_interval(10 * events, np.full(24, 10))
    cases = share_interval(np.repeat(events, 10), np.ones(240), list(np.repeat(np.arange(24), 10)))
    apart = share_interval(np.repeat(events, 10), np.ones(240))
    assert (alike.low, alike.high) == pytest.approx((once.low, once.high))
    assert (cases.low, cases.high) == pytest.approx((once.low, once.high))
    assert apart.high - apart.low < 0.5 * (once.high - once.low)


def test_cases_without_a_trial_change_nothing():
    events, trials = np.array([1, 0, 1] * 7 + [0]), np.array([2, 2, 1] * 7 + [0])
    found = share_interval(events, trials)
    assert found == share_interval(events[:21], trials[:21])
    assert found.low < found.high


def test_what_has_no_interval_says_so():
    one = share_interval(np.array([1, 2]), np.array([2, 2]), ["p", "p"])
    assert (one.mean, one.count) == (0.75, 1)
    assert math.isnan(one.low)
    none = share_interval(np.zeros(3), np.zeros(3))
    assert math.isnan(none.mean)
    assert none.count == 0


def test_f1_is_two_tp_over_two_tp_plus_fp_plus_fn():
    true_positive, false_positive, false_negative = np.eye(3)[[0, 0, 0, 1, 2, 2, 0, 0] * 3].T
    found = f1_interval(true_positive, false_positive, false_negative)
    assert found.mean == pytest.approx(2 * 15 / (2 * 15 + 3 + 6))
    low, high = wilson(5 / 8, 24, student_t.ppf(0.975, 23))
    assert (found.low, found.high) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)), abs=1e-9)


def test_f1_without_any_positive_is_undefined():
    assert math.isnan(f1_interval(np.zeros(4), np.zeros(4), np.zeros(4)).mean)
