"""The interval of a difference between two arms that holds the spread of cases and that of trainings."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from nnunet_missingmod.evaluation.intervals import Interval

Numbers = NDArray[np.float64]
# Of a mean, and its degrees of freedom.
Variance = tuple[float, float]


def over_trainings_and_cases(values: Numbers, patients: Sequence[str] | None = None) -> Interval:
    """Return the mean of an array (folds, seeds, cases) and its 95 % interval, from Student's t.

    Each case counts once in the mean: of a case that several trainings scored it is the mean over these. With trainings
    u (folds, or seeds where there is one fold) that were scored on the same patients p, m_u, c_p and m the means over
    patients, over trainings and over both, weighted by w_u and v_p, the shares of all values::

        V_t = U / (U - 1) sum_u w_u^2 (m_u - m)^2,     V_c = P / (P - 1) sum_p v_p^2 (c_p - m)^2
        V_e = U P / ((U - 1) (P - 1)) sum_up w_u^2 v_p^2 (y_up - m_u - c_p + m)^2
        V = max(V_t + V_c - V_e, V_t, V_c)
        degrees of freedom = V^2 / (V_t^2 / (U - 1) + V_c^2 / (P - 1) + V_e^2 / ((U - 1) (P - 1)))

    (Gates, 1995, for variances of crossed random effects; Satterthwaite, 1946). Where folds have different cases, as in
    cross-validation, a fold with its cases and trainings is one draw: V = F / (F - 1) sum_f w_f^2 (m_f - m)^2, with
    F - 1 degrees of freedom and w_f its share of the cases. It is the sum of what V is within each fold where that is
    more (a fold of one training has the spread of its patients there), since few folds may be alike by chance. It is
    also at least the variance between patients, of each the mean over its trainings, where a patient is in several
    folds, as in random splits: folds that share patients are alike. One training shows nothing of the spread between
    trainings, nor one patient of that between patients, and neither has an interval; nor have two folds of one training
    each, where it would be too narrow.

    Percentiles of a bootstrap over so few trainings are far too narrow. ``coverage.py`` shows how often these intervals
    hold the truth.

    Args:
        values: one difference per training and case; a training is a fold and a seed. A case that a fold has not is NaN
            there, and so are all cases of a training that has not been run.
        patients: the patient of each case; by default each case is one.

    Raises:
        ValueError: a training of a fold lacks cases that another of that fold has, or there is no value.
    """
    there = ~np.isnan(values)  # folds, seeds, cases
    folds, cases = there.any((1, 2)), there.any((0, 1))
    if not folds.any():
        raise ValueError("There is no value to take the mean of.")
    values, there = (array[folds][:, :, cases] for array in (values, there))
    has_run, in_fold = there.any(2), there.any(1)
    if (there != in_fold[:, None] & has_run[..., None]).any():
        raise ValueError("Trainings of one fold are compared on the same cases.")
    owners = np.arange(len(cases)) if patients is None else np.unique(list(patients), return_inverse=True)[1]
    owners = owners[cases]
    mean = float(_mean(values, axis=(0, 1)).mean())
    if in_fold.all():
        # The folds' trainings are draws; seeds are where there is one fold.
        units = values[0][has_run[0]] if len(values) == 1 else _mean(values, axis=1)
        shares = np.ones(len(units)) if len(values) == 1 else has_run.sum(1).astype(float)
        variance, freedom = _crossed(units, shares, owners)
    else:
        variance, freedom = _of_folds(values, owners)
    count = int(cases.sum())
    if np.isnan(variance):
        return Interval(mean, nan, nan, count)
    half = float(student.ppf(0.975, freedom)) * sqrt(variance) if variance > 0 else 0.0
    return Interval(mean, mean - half, mean + half, count)


def _mean(values: Numbers, axis: int | tuple[int, ...]) -> Numbers:
    """Return the mean of what is defined, NaN where nothing is."""
    total, count = np.nansum(values, axis=axis), (~np.isnan(values)).sum(axis=axis)
    return np.divide(total, count, out=np.full(np.shape(total), nan), where=count > 0)


def _of_folds(values: Numbers, patients: NDArray[np.int64]) -> Variance:
    """Return the variance of the mean over folds that have different cases."""
    there = ~np.isnan(values)
    of_case = _mean(values, axis=(0, 1))
    shares = there / there.sum((0, 1)) / len(of_case)  # of each value in the mean
    folds = len(values)
    deviations = np.nansum(shares * (values - of_case.mean()), axis=(1, 2))
    found = [(float(folds / (folds - 1) * (deviations**2).sum()), float(folds - 1))]
    found.append(_within(values, there, shares.sum((1, 2)), patients))
    if _is_in_several(there.any(1), patients):
        found.append(_of_patients(of_case, patients))
    alone = folds == 2 and (there.any(2).sum(1) == 1).any()
    if alone or any(np.isnan(variance) for variance, _ in found):
        return nan, nan
    return max(found)


def _is_in_several(in_fold: NDArray[np.bool_], patients: NDArray[np.int64]) -> bool:
    """Return whether a patient has cases in several of the folds (folds, cases)."""
    pairs = {(fold, patients[case]) for fold, case in np.argwhere(in_fold)}
    return len(pairs) > len(set(patients))


def _within(values: Numbers, there: NDArray[np.bool_], sizes: Numbers, patients: NDArray[np.int64]) -> Variance:
    """Return the variance of the mean over folds of which each has its own trainings and patients alone."""
    found = []
    for of_fold, defined, size in zip(values, there, sizes, strict=True):
        run, cases = defined.any(1), defined.any(0)
        trainings, owners = of_fold[run][:, cases], patients[cases]
        alone = trainings.shape[0] == 1
        one = _of_patients(trainings[0], owners) if alone else _crossed(trainings, np.ones(len(trainings)), owners)
        found.append((size**2 * one[0], one[1]))
    total = sum(variance for variance, _ in found)
    if np.isnan(total) or total == 0:
        return 0.0, nan
    return total, total**2 / sum(variance**2 / freedom for variance, freedom in found if variance > 0)


def _of_patients(values: Numbers, patients: NDArray[np.int64]) -> Variance:
    """Return the variance of the mean of one value for each case, over patients."""
    of_patient, v = _by_patient(values[None], patients)
    if len(v) < 2:
        return nan, nan
    variance = len(v) / (len(v) - 1) * ((v * (of_patient[0] - v @ of_patient[0])) ** 2).sum()
    return float(variance), float(len(v) - 1)


def _by_patient(trainings: Numbers, patients: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return the means (trainings, patients) of values (trainings, cases), and the patients' shares of the cases."""
    _, rows, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    sums = np.zeros((len(trainings), len(sizes)))
    np.add.at(sums.T, rows, trainings.T)
    return sums / sizes, sizes / sizes.sum()


def _crossed(units: Numbers, shares: Numbers, patients: NDArray[np.int64]) -> Variance:
    """Return the variance of the mean of values (trainings, cases) of the same cases."""
    of_patient, v = _by_patient(units, patients)
    number, people = of_patient.shape
    if number < 2 or people < 2:
        return nan, nan
    w = shares / shares.sum()
    of_training, of_case = of_patient @ v, w @ of_patient
    mean = w @ of_training
    rest = of_patient - of_training[:, None] - of_case + mean
    trainings = number / (number - 1) * ((w * (of_training - mean)) ** 2).sum()
    cases = people / (people - 1) * ((v * (of_case - mean)) ** 2).sum()
    both = (number - 1) * (people - 1)
    error = number * people / both * ((w[:, None] * v * rest) ** 2).sum()
    variance = max(trainings + cases - error, trainings, cases)
    if variance == 0:
        return 0.0, nan
    freedom = variance**2 / (trainings**2 / (number - 1) + cases**2 / (people - 1) + error**2 / both)
    return float(variance), float(freedom)
