"""The interval of a difference between two arms that holds the spread of cases and that of trainings."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval


def over_trainings_and_cases(values: NDArray[np.float64], patients: Sequence[str] | None = None) -> Interval:
    """Return the mean of an array (folds, seeds, cases) and its 95 % interval by a hierarchical bootstrap.

    A case that a fold has not is NaN there. Each of 5,000 resamples draws with replacement folds; in each of these,
    seeds; and patients, all cases of a patient together (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
    Patients are drawn within each fold where folds have different ones, as in cross-validation, and crosswise, the same
    for all trainings, where all trainings were scored on the same cases. The mean is that over all trainings and cases
    that were drawn. One training shows nothing of the spread between trainings, and has no interval.

    Args:
        values: one difference per training and case; a training is a fold and a seed.
        patients: the patient of each case; by default each case is one.

    Raises:
        ValueError: a training of a fold lacks cases that another of that fold has.
    """
    settings = Bootstrap()
    defined = ~np.isnan(values)
    if (defined != defined[:, :1]).any():
        raise ValueError("Trainings of one fold are compared on the same cases.")
    folds, seeds, _ = values.shape
    in_fold = defined[:, 0]  # folds, cases
    mean = float(values[defined].mean())
    if folds * seeds < 2:
        return Interval(mean, nan, nan, int(in_fold.any(0).sum()))
    generator = np.random.default_rng(settings.seed)
    owners, rows = np.unique(list(range(values.shape[2])) if patients is None else list(patients), return_inverse=True)
    of_patient = np.zeros((folds, len(owners)))
    sums = np.zeros((folds, seeds, len(owners)))
    np.add.at(of_patient.T, rows, in_fold.T)
    np.add.at(np.moveaxis(sums, 2, 0), rows, np.moveaxis(np.nan_to_num(values), 2, 0))
    has = of_patient > 0
    crosswise = bool((has == has[:1]).all())
    fold_weights = _drawn(generator, settings.resamples, folds)
    total, count = np.zeros((2, settings.resamples))
    case_weights = _drawn(generator, settings.resamples, int(has[0].sum())) if crosswise else None
    for fold in range(folds):
        seed_weights = _drawn(generator, settings.resamples, seeds)
        weights = (
            case_weights if case_weights is not None else _drawn(generator, settings.resamples, int(has[fold].sum()))
        )
        of_fold = np.einsum("rs,sp,rp->r", seed_weights, sums[fold][:, has[fold]], weights)
        cases_of_fold = seed_weights.sum(1) * (weights @ of_patient[fold][has[fold]])
        total += fold_weights[:, fold] * of_fold
        count += fold_weights[:, fold] * cases_of_fold
    low, high = np.percentile(total / count, (2.5, 97.5))
    return Interval(mean, float(low), float(high), int(in_fold.any(0).sum()))


def _drawn(generator: np.random.Generator, resamples: int, count: int) -> NDArray[np.float64]:
    """Return how often each of so many is drawn in each resample, (resamples, count)."""
    if count == 1:
        return np.ones((resamples, 1))
    return generator.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
