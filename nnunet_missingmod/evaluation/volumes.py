"""Predicted volumes against reference volumes in mL: bias and limits of agreement (Bland and Altman 1986)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, Bootstrap, Interval, patient_numbers
from nnunet_missingmod.evaluation.score_grid import ScoreGrid
from nnunet_missingmod.modalities import subset_name

MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class VolumeAgreement:
    """How well a model's volumes of a region agree with the reference's for one subset, in mL.

    ``bias`` is the mean of predicted minus reference volume. Between ``lower`` and ``upper`` lie 95 % of the
    differences if they are normal; see `limits_of_agreement`.
    """

    model: str
    region: str
    subset: str
    reference_ml: float
    bias_ml: Interval
    lower_ml: Interval
    upper_ml: Interval


def volume_agreements(
    grid: ScoreGrid, *, bootstrap: Bootstrap, patients: Mapping[str, str] | None = None
) -> list[VolumeAgreement]:
    """Return the agreement of every model, region and subset with any case whose volumes are known.

    Volumes of several runs of a case are averaged first. Cases whose reference is empty count: their difference is the
    volume that was made up.
    """
    voxel_ml = np.array([row.voxel_mm3 if row.has_sizes else nan for row in grid.rows]) / MM3_PER_ML
    reference = grid.mean(voxel_ml * [row.reference_voxels for row in grid.rows])
    difference = grid.mean(voxel_ml * [row.predicted_voxels for row in grid.rows]) - reference
    owners = grid.owners(patients)
    found = []
    places = grid.scored(difference)
    arrays = [difference[model, region, :, subset, None] for model, region, subset in places]
    biases = bootstrap.intervals(arrays, owners, skewed=True)
    for (model, region, subset), array, bias in zip(places, arrays, biases, strict=True):
        lower, upper = limits_of_agreement(array[:, 0], owners, confidence=bootstrap.confidence)
        found.append(
            VolumeAgreement(
                model=grid.models[model],
                region=grid.regions[region],
                subset=subset_name(grid.subsets[subset], grid.modalities),
                reference_ml=float(np.nanmean(reference[model, region, :, subset])),
                bias_ml=bias,
                lower_ml=lower,
                upper_ml=upper,
            )
        )
    return found


def limits_of_agreement(
    differences: NDArray[Any], patients: Sequence[Hashable] | None = None, *, confidence: float = 0.95
) -> tuple[Interval, Interval]:
    """Return the lower and the upper limit of agreement, ``mean -+ 1.96 s``, each with its interval.

    s is the standard deviation of the differences. With several cases of a patient it is ``sqrt(between + within)``,
    the two components of variance of a one-way analysis of variance (Bland and Altman 2007, section 3): differences of
    one patient are alike, and their plain standard deviation is too small. The interval of a limit is ``-+ t sqrt(
    var(mean) + 1.96^2 var(s))`` with Student's quantile t. With one case per patient that is ``-+ t s sqrt(1 / n +
    1.96^2 / (2 (n - 1)))``, t of n - 1 degrees of freedom (Bland and Altman 1999, section 3; in 1986 they gave its
    approximation ``t s sqrt(3 / n)``). With several, the variances are those of the components (Searle, Casella and
    McCulloch 1992, section 3.6), and the degrees of freedom Satterthwaite's, ``2 s^4 / var(s^2)``. There is none
    with fewer than `SHOWN_FROM` patients.

    Notes:
        Both assume normal differences, whose spread does not grow with the volume: few large errors make the limits
        wider than most differences are.

    Args:
        differences: of each case; NaN is left out.
        patients: the patient of each case, by default the case itself.
    """
    from scipy.special import stdtrit

    defined = ~np.isnan(differences)
    values = np.asarray(differences, np.float64)[defined]
    owners = list(range(len(differences))) if patients is None else list(patients)
    numbers = patient_numbers([owner for owner, keep in zip(owners, defined, strict=True) if keep])
    if not len(values):
        return (Interval(nan, nan, nan, 0),) * 2
    number = int(numbers.max()) + 1
    mean = float(values.mean())
    if number < 2:
        return (Interval(nan, nan, nan, len(values)),) * 2
    found = _variances(values, numbers)
    spread, z, half = sqrt(found.total), NormalDist().inv_cdf(0.975), nan
    if number >= SHOWN_FROM:
        half = 0.0
        if found.total > 0:
            freedom = 2 * found.total**2 / found.of_total
            # By the delta method the variance of s is that of s^2 over 4 s^2.
            error = sqrt(found.of_mean + z * z * found.of_total / (4 * found.total))
            half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    lower, upper = mean - z * spread, mean + z * spread
    return (
        Interval(lower, lower - half, lower + half, len(values)),
        Interval(upper, upper - half, upper + half, len(values)),
    )


class _Variances(NamedTuple):
    """Of differences: between plus within patients, and the variances of their mean and of that total."""

    total: float
    of_mean: float
    of_total: float


def _variances(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> _Variances:
    """Return the variances by a one-way analysis of variance of unequal groups, a patient each.

    With group sizes m_i, their sum N and n groups, ``m0 = (N - sum m_i^2 / N) / (n - 1)``, MSB and MSW the mean squares
    between and within, ``between = max((MSB - MSW) / m0, 0)`` and ``within = MSW``.
    """
    counts = np.bincount(numbers).astype(np.float64)
    cases, patients = len(values), len(counts)
    second, third = float(np.square(counts).sum()), float((counts**3).sum())
    means = np.bincount(numbers, values) / counts
    repeats = cases - patients
    within = float(np.square(values - means[numbers]).sum()) / repeats if repeats else 0.0
    squares_between = float((counts * np.square(means - values.mean())).sum())
    size = (cases - second / cases) / (patients - 1)
    between = max((squares_between / (patients - 1) - within) / size, 0.0)
    of_squares = 2 * (
        (second + second**2 / cases**2 - 2 * third / cases) * between**2
        + 2 * (cases - second / cases) * between * within
        + (patients - 1) * within**2
    )
    of_total = of_squares / ((patients - 1) * size) ** 2
    if repeats:
        of_total += (1 - 1 / size) ** 2 * 2 * within**2 / repeats
    return _Variances(between + within, between * second / cases**2 + within / cases, of_total)
