"""Confidence intervals of shares and of F1 over patients, by Wilson's score."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import nan, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.intervals import Interval, by_patient, patient_numbers

SHARES_FROM = 15
"""The fewest patients for which the interval of a share or of F1 is shown (docs/metrics.md)."""

PATIENTS: Literal["patients"] = "patients"
"""What the intervals here count."""

# Limits are rounded to so many decimals: what lies beyond is rounding error.
_DECIMALS = 12
# A variance below this is a rounding error.
_ROUNDING = 1e-24


def share_interval(
    events: NDArray[Any],
    trials: NDArray[Any],
    patients: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Return the share ``sum(events) / sum(trials)`` over cases with Wilson's score interval over patients.

    The interval is that of ``n p (1 - p)``-variance with n the effective number of trials (Korn and Graubard 1998):
    ``n = p (1 - p) / s^2``, ``s^2 = sum_i (e_i - p t_i)^2 / (sum_i t_i)^2`` the linearised variance of the share over
    patients i of e_i events in t_i trials. With one trial per patient n is the number of patients, and this is Wilson's
    interval; it is so, too, if all patients have the same share, none or all for example. ``z`` is Student's quantile
    in place of the normal one, for the few patients; with it, ``s^2`` needs no factor ``n / (n - 1)``. ``count`` is the
    number of patients with any trial; with fewer than `SHARES_FROM` there is no interval.

    Args:
        events: how many (or what part) of the trials of each case are events.
        trials: of each case; a case without any does not count.
        patients: the patient of each case, by default the case itself.
    """
    from scipy.special import stdtrit

    both = np.stack([np.asarray(events, np.float64), np.asarray(trials, np.float64)], axis=1)
    both[~(both[:, 1] > 0)] = np.nan
    sums, _ = by_patient(both, None if patients is None else patient_numbers(patients), whole=True)
    number = len(sums)
    if not number:
        return Interval(nan, nan, nan, 0, PATIENTS)
    all_events, all_trials = sums.sum(axis=0)
    share = float(all_events / all_trials)
    if number < SHARES_FROM:
        return Interval(share, nan, nan, number, PATIENTS)
    residuals = (sums[:, 0] - share * sums[:, 1]) / all_trials
    variance = float(np.square(residuals).sum())
    effective = share * (1 - share) / variance if variance > _ROUNDING else float(number)
    z = float(stdtrit(number - 1, (1 + confidence) / 2))
    middle = (share + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * sqrt(share * (1 - share) / effective + z * z / (4 * effective**2))
    low, high = round(max(middle - half, 0.0), _DECIMALS), round(min(middle + half, 1.0), _DECIMALS)
    return Interval(share, low, high, number, PATIENTS)


def f1_interval(
    true_positives: NDArray[Any],
    false_positives: NDArray[Any],
    false_negatives: NDArray[Any],
    patients: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Return ``F1 = 2 TP / (2 TP + FP + FN)`` over cases with its interval over patients.

    ``F1 = 2 s / (1 + s)`` with the share ``s = TP / (TP + FP + FN)``, of which it is a growing function: the limits are
    those of `share_interval`, taken through it. Without any positive, F1 is NaN. ``count`` is the number of patients
    with any positive case, in the reference or predicted.

    Args:
        true_positives: 1 for a case that is one, else 0; a part of 1 where runs of a case differ.
        false_positives, false_negatives: as these.
        patients: the patient of each case, by default the case itself.
    """
    positives = np.asarray(true_positives, np.float64)
    share = share_interval(positives, positives + false_positives + false_negatives, patients, confidence=confidence)
    mean, low, high = (2 * value / (1 + value) for value in (share.mean, share.low, share.high))
    return Interval(mean, low, high, share.count, PATIENTS)
