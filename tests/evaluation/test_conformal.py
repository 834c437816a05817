"""Conformal quantiles as counted by hand, and coverage as promised on exchangeable patients."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest

from nnunet_missingmod.evaluation.agreement_regression import AgreementRegression, Observations
from nnunet_missingmod.evaluation.conformal import (
    Calibration,
    HeldOut,
    calibrate,
    conformal_quantile,
    held_out,
    least_patients,
    reached_confidence,
)


def patients(count, each=1):
    return np.repeat(np.arange(count), each)


def drawn(rng, count, *, each=1, subsets=1):
    """Observations of exchangeable patients: a quality of their own, subsets of different difficulty, noise."""
    names = patients(count, each)
    quality = np.repeat(rng.beta(4, 2, count), each)
    subset = np.tile(np.arange(each) % subsets, count)
    agreement = np.clip(0.3 + 0.6 * quality - 0.1 * subset + rng.normal(0, 0.05, len(names)), 0, 1)
    dice = np.clip(quality - 0.2 * subset + rng.normal(0, 0.1, len(names)), 0, 1)
    return Observations.of(
        [(f"p{n:03d}", str(s), a, d) for n, s, a, d in zip(names, subset, agreement, dice, strict=True)]
    )


@pytest.mark.parametrize(("confidence", "fewest"), [(0.95, 19), (0.9, 9), (0.5, 1), (0.99, 99)])
def test_the_fewest_patients_of_a_confidence(confidence, fewest):
    assert least_patients(confidence) == fewest


@pytest.mark.parametrize(("count", "confidence"), [(8, nan), (9, 0.9), (18, 0.9), (19, 0.95), (500, 0.95)])
def test_the_confidence_that_the_patients_allow(count, confidence):
    assert reached_confidence(count) == pytest.approx(confidence, nan_ok=True)


@pytest.mark.parametrize(("count", "confidence", "rank"), [(19, 0.95, 19), (20, 0.95, 20), (39, 0.95, 38), (9, 0.9, 9)])
def test_with_one_residual_per_patient_it_is_the_smallest_of_rank_n_plus_1_times_confidence(count, confidence, rank):
    residuals = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert conformal_quantile(residuals, patients(count), confidence) == rank


def test_each_patient_has_the_same_weight_whatever_its_number_of_residuals():
    # K = 3; patient a has weight 1/8 per residual, b and c 1/4: 1 1 (a), 2 (b), 3 (c) add up to 1/4, 1/2, 3/4.
    residuals, owners = np.array([1.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 2])
    assert [conformal_quantile(residuals, owners, share) for share in (0.25, 0.5, 0.75)] == [1, 2, 3]
    assert conformal_quantile(residuals, owners, 0.76) == inf


def test_too_few_patients_have_no_bound():
    assert conformal_quantile(np.ones(18), patients(18), 0.95) == inf
    assert conformal_quantile(np.ones(100), patients(10, 10), 0.95) == inf
    assert conformal_quantile(np.array([]), np.array([]), 0.9) == inf


def test_a_confidence_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.0"):
        least_patients(1.0)


def test_the_order_of_observations_and_undefined_ones_do_not_matter():
    entries = [(f"p{i}", "S", i / 40, i / 50) for i in range(30)]
    undefined = [("p3", "S", nan, 0.5), ("q", "S", 0.5, nan)]
    assert calibrate(held_out(Observations.of([*undefined, *entries[::-1]]))) == calibrate(
        held_out(Observations.of(entries))
    )


def test_an_interval_is_that_far_around_the_expected_dice_and_within_0_and_1():
    regression = AgreementRegression({"S": (0.5, 0.6)}, (-0.2, 0.2), (-0.3, 0.3))
    found = Calibration(20, 20, 0.95, 0.25, regression)
    middle = found.interval("S", 0.6)
    assert (middle.dice, middle.low, middle.high) == pytest.approx((0.75, 0.5, 1.0))
    assert (middle.confidence, middle.outside) == (0.95, "")
    assert found.interval("S", 0.29).outside == "below"
    assert found.interval("S", 0.29).low == pytest.approx(0.05)
    assert found.interval("S", 0.71).outside == "above"
    assert found.interval("S", 0.3).outside == ""


def test_without_an_interval_the_reason_is_said():
    found = calibrate(held_out(Observations.of([(f"p{i}", "S", 0.5, 0.5) for i in range(8)])))
    assert isnan(found.half_width)
    assert found.why_none("S") == "it was calibrated on 8 patients, and an interval of 90 % needs 9"
    with pytest.raises(ValueError, match="calibrated on 8 patients"):
        found.interval("S", 0.5)
    enough = calibrate(held_out(Observations.of([(f"p{i}", "S", 0.5, 0.5) for i in range(9)])))
    assert enough.why_none("S") is None
    assert enough.why_none("T") == "no evaluated case has the modalities T"


def test_agreement_that_never_varies_leaves_the_spread_of_dice():
    dice = np.linspace(0.1, 0.9, 40)
    found = calibrate(held_out(Observations.of([(f"p{i:02d}", "S", 1.0, d) for i, d in enumerate(dice)])))
    assert found.interval("S", 1.0).dice == pytest.approx(0.5)
    assert found.half_width == pytest.approx(0.4, abs=0.03)


def test_coverage_is_measured_on_patients_that_the_intervals_are_not_made_from():
    seen = drawn(np.random.default_rng(1), 40)
    before = held_out(seen)
    changed = seen.dice.copy()
    changed[7] = 0.0
    after = held_out(replace(seen, dice=changed))
    assert after.dice[7] == before.dice[7]
    assert after.low[7] == before.low[7]
    assert not np.array_equal(np.delete(after.dice, 7), np.delete(before.dice, 7))


def test_with_exactly_the_fewest_patients_there_are_intervals_and_no_measured_coverage():
    found = calibrate(held_out(drawn(np.random.default_rng(2), 19)))
    assert (found.confidence, found.coverage.patients) == (0.95, 0)
    assert isnan(found.coverage.share)
    assert calibrate(held_out(drawn(np.random.default_rng(2), 20))).coverage.patients == 20


@pytest.mark.parametrize(
    ("count", "each", "low", "high"), [(20, 1, 0.92, 0.98), (60, 1, 0.93, 0.98), (60, 4, 0.94, 0.985)]
)
def test_new_patients_are_covered_as_often_as_promised(count, each, low, high):
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(60 // each):
        seen = drawn(rng, count, each=each, subsets=2)
        # Without the measurement of its coverage, which takes most of the time.
        unmeasured = np.full(len(seen), nan)
        found = calibrate(HeldOut(seen, 0.95, unmeasured, unmeasured, unmeasured))
        new = drawn(rng, 50, each=each, subsets=2)
        expected = found.regression.expect(new.names, new.subsets, new.agreement)
        shares.append(np.mean(np.abs(new.dice - expected) <= found.half_width))
    assert low <= np.mean(shares) <= high


def test_the_measured_coverage_and_width_are_means_over_patients():
    seen = Observations.of([("a", "S", 0.5, 0.1), ("a", "S", 0.5, 0.9), ("b", "S", 0.5, 0.5), ("c", "S", 0.5, 0.5)])
    low, high = np.array([0.5, 0.5, 0.4, nan]), np.array([1.0, 1.0, 0.6, nan])
    measured = HeldOut(seen, 0.9, (low + high) / 2, low, high)
    assert measured.coverage.share == pytest.approx((0.5 + 1) / 2)
    assert (measured.coverage.patients, measured.coverage.observations) == (2, 3)
    assert measured.width == pytest.approx((0.5 + 0.2) / 2)
