from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, row
from scipy.stats import t as student_t

from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.score_grid import grid_of
from nnunet_missingmod.evaluation.scores import UNKNOWN_VOXELS
from nnunet_missingmod.evaluation.volumes import limits_of_agreement, volume_agreements

QUICK = Bootstrap(resamples=100)


def test_limits_of_agreement_by_hand():
    """Differences -2, 0, 1, 5, 1, 1: mean 1, s = sqrt((9 + 1 + 0 + 16 + 0 + 0) / 5) = 2.2804."""
    lower, upper = limits_of_agreement(np.array([-2.0, 0.0, math.nan, 1.0, 5.0, 1.0, 1.0]))
    s = math.sqrt(26 / 5)
    assert (lower.mean, upper.mean) == pytest.approx((1 - 1.959964 * s, 1 + 1.959964 * s), abs=1e-5)
    half = student_t.ppf(0.975, 5) * s * math.sqrt(1 / 6 + 1.959964**2 / (2 * 5))
    assert (upper.low, upper.high) == pytest.approx((upper.mean - half, upper.mean + half), rel=1e-6)
    assert lower.count == 6


def test_fewer_than_six_patients_have_limits_of_agreement_without_intervals():
    few = limits_of_agreement(np.array([-2.0, 0.0, 1.0, 5.0, 1.0]))[1]
    assert few.mean == pytest.approx(1 + 1.959964 * math.sqrt(26 / 4))
    assert math.isnan(few.low)
    assert math.isnan(few.high)


def test_limits_of_many_patients_near_the_approximation_of_1986():
    differences = np.random.default_rng(0).normal(0, 3, 400)
    upper = limits_of_agreement(differences)[1]
    assert upper.high - upper.mean == pytest.approx(1.966 * differences.std() * math.sqrt(3 / 400), rel=0.02)


def test_cases_of_one_patient_add_their_variance_within():
    """Patients (1, 3), (7, 9): within 2, between (72 - ... ) by the analysis of variance: MSB 36, m = 2, so 17 + 2."""
    lower, upper = limits_of_agreement(np.array([1.0, 3.0, 7.0, 9.0]), ["p", "p", "q", "q"])
    assert upper.mean - lower.mean == pytest.approx(2 * 1.959964 * math.sqrt((36 - 2) / 2 + 2), rel=1e-6)
    assert math.isnan(limits_of_agreement(np.array([1.0, 2.0]), ["p", "p"])[0].mean)
    assert math.isnan(limits_of_agreement(np.array([math.nan]))[0].mean)


def test_the_interval_of_balanced_visits_is_that_of_the_mean_squares():
    """With m cases of each of n patients: var(MSB) = 2 MSB^2 / (n - 1), var(MSW) = 2 MSW^2 / (n (m - 1))."""
    n, m = 7, 3
    rng = np.random.default_rng(0)
    values = rng.normal(0, 2, n)[:, None] + rng.normal(0, 1, (n, m))
    of_patients = m * values.mean(1).var(ddof=1)
    within = values.var(1, ddof=1).mean()
    total = (of_patients - within) / m + within
    of_total = 2 * of_patients**2 / (n - 1) / m**2 + (1 - 1 / m) ** 2 * 2 * within**2 / (n * (m - 1))
    half = student_t.ppf(0.975, 2 * total**2 / of_total) * math.sqrt(
        of_patients / (n * m) + 1.959964**2 * of_total / (4 * total)
    )
    upper = limits_of_agreement(values.ravel(), [patient for patient in range(n) for _ in range(m)])[1]
    assert upper.mean == pytest.approx(values.mean() + 1.959964 * math.sqrt(total), rel=1e-6)
    assert upper.high - upper.mean == pytest.approx(half, rel=1e-6)


def test_equal_differences_have_limits_without_width():
    many = limits_of_agreement(np.full(16, 2.0), list("aabbccddeeffgghh"))[1]
    assert (many.low, many.high) == (2.0, 2.0)


def test_volumes_are_voxels_times_their_size_averaged_over_runs():
    rows = [
        row(0.5, case="c0", reference=1000, predicted=1500),  # 2 mm3 a voxel: 2 mL and 3 mL
        row(0.5, case="c0", fold="1", reference=1000, predicted=2500),  # 5 mL
        row(0.5, case="c1", reference=2000, predicted=500, voxel_mm3=1.0),  # 2 mL and 0.5 mL
        row(0.0, case="c2", reference=0, predicted=2000),  # 0 mL and 4 mL
    ]
    (found,) = volume_agreements(grid_of(rows, AB), bootstrap=QUICK)
    assert (found.model, found.region, found.subset) == ("ours", "ET", "A")
    assert found.reference_ml == pytest.approx(4 / 3)
    assert found.bias_ml.mean == pytest.approx((2 - 1.5 + 4) / 3)
    assert found.bias_ml.count == 3
    assert math.isnan(found.bias_ml.low)
    spread = np.std([2, -1.5, 4], ddof=1)
    assert found.upper_ml.mean == pytest.approx(1.5 + 1.959964 * spread, rel=1e-6)


def test_rows_without_the_size_of_a_voxel_have_no_volumes():
    assert volume_agreements(grid_of([row(0.5, voxel_mm3=math.nan)], AB), bootstrap=QUICK) == []
    rows = [row(0.5, voxel_mm3=math.nan), row(0.5, case="c1", predicted=600)]
    (found,) = volume_agreements(grid_of(rows, AB), bootstrap=QUICK)
    assert (found.bias_ml.count, found.bias_ml.mean) == (1, pytest.approx(1.0))


def test_rows_without_sizes_have_no_volumes_whatever_a_voxel_is():
    unknown = row(0.5, case="c2", reference=UNKNOWN_VOXELS, predicted=UNKNOWN_VOXELS, voxel_mm3=2.0)
    assert volume_agreements(grid_of([unknown], AB), bootstrap=QUICK) == []
    rows = [row(0.5, reference=500, predicted=1000), unknown]
    (found,) = volume_agreements(grid_of(rows, AB), bootstrap=QUICK)
    assert (found.bias_ml.count, found.bias_ml.mean, found.reference_ml) == (1, 1.0, 1.0)
