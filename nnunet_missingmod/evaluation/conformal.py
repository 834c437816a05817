"""Conformal prediction of a case's Dice: from the agreement of its predictions to an interval with known coverage.

``calibrate`` learns from evaluated cases, whose Dice is known; `Calibration.interval` speaks of a new one. `held_out`
measures, on the cases themselves, how often such intervals hold what they promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf, isnan, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCES = (0.95, 0.9)
"""The confidence of intervals: the first for which there are patients enough."""

# Of the cross-fitting within a calibration, and of the measurement of its coverage; no more than there are patients.
_FITS = 5
_HELD_OUT_PARTS = 20
# Of agreement minus its mean.
_DECIMALS = 9
# Of sums of weights, which would be equal without rounding.
_ROUNDING = 1e-9

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


def least_patients(confidence: float) -> int:
    """Return the fewest patients whose largest residual is a bound of this confidence: ``ceil(c / (1 - c))``.

    19 for 0.95, 9 for 0.9.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence lies between 0 and 1, got {confidence}.")
    return ceil(confidence / (1 - confidence) - _ROUNDING)


def reached_confidence(patients: int) -> float:
    """Return the confidence of the intervals that so many patients allow, one of `CONFIDENCES`; NaN if none is."""
    return next((each for each in CONFIDENCES if patients >= least_patients(each)), nan)


def conformal_quantile(residuals: Floats, patients: Numbers, confidence: float) -> float:
    """Return the bound that the residual of a new patient's prediction keeps to with this confidence.

    Of K patients, patient k with n_k residuals, it is the smallest r with
    ``sum_k #{residuals of k that are <= r} / ((K + 1) n_k) >= confidence``, and infinite if there is none. With one
    residual per patient that is the ``ceil((K + 1) confidence)``-th smallest. If patients are exchangeable, and the
    residuals of one patient among each other, a new one is within the bound at least so often.

    Sources: Vovk et al., Algorithmic Learning in a Random World, 2005; Lei et al., Distribution-Free Predictive
    Inference for Regression, JASA 2018, section 2.2; several residuals per patient: Lee, Barber and Willett,
    Distribution-Free Inference with Hierarchical Data, 2023, section 3 (HCP).
    """
    count = len(np.unique(patients))
    if not count or count < least_patients(confidence):
        return inf
    order = np.argsort(residuals, kind="stable")
    reached = np.cumsum(_weights(patients)[order]) / (count + 1)
    return float(residuals[order][np.searchsorted(reached, confidence - _ROUNDING)])


def _weights(patients: Numbers) -> Floats:
    """Return weights that give each patient 1, shared equally by its observations."""
    _, index, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights: Floats = 1.0 / counts[index]
    return weights


@dataclass(frozen=True)
class Observations:
    """What is known of evaluated predictions: of each its patient, its subset of modalities, its agreement, its Dice.

    Agreement and Dice are in 0..1. Predictions of which one of the two is undefined are left out.

    Attributes:
        patients: the number of each prediction's patient.
        subsets: the position of its subset in ``names``.
    """

    patients: Numbers
    subsets: Numbers
    agreement: Floats
    dice: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[tuple[str, str, float, float]]) -> Observations:
        """Return the observations of (patient, subset, agreement, Dice), in an order that does not depend on theirs."""
        kept = sorted(each for each in entries if not isnan(each[2]) and not isnan(each[3]))
        _, patients = np.unique([each[0] for each in kept], return_inverse=True)
        names = tuple(sorted({each[1] for each in kept}))
        subsets = [names.index(each[1]) for each in kept]
        numbers = np.array([each[2:] for each in kept], np.float64).reshape(-1, 2)
        return cls(
            patients.astype(np.int64), np.array(subsets, np.int64), numbers[:, 0].copy(), numbers[:, 1].copy(), names
        )

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def count(self) -> int:
        """The number of patients."""
        return len(np.unique(self.patients))

    def where(self, chosen: NDArray[np.bool_]) -> Observations:
        """Return some of the observations."""
        return Observations(
            self.patients[chosen], self.subsets[chosen], self.agreement[chosen], self.dice[chosen], self.names
        )

    def without_agreement(self) -> Observations:
        """Return the same without knowledge of the agreement, to see what that is worth."""
        return replace(self, agreement=np.zeros_like(self.agreement))

    def parts(self, most: int) -> Numbers:
        """Return the part of each observation, so that all of a patient are in one of at most so many parts."""
        _, index = np.unique(self.patients, return_inverse=True)
        parts: Numbers = index.astype(np.int64) % max(1, min(most, self.count))
        return parts


class CaseInterval(NamedTuple):
    """The Dice to expect of one case in one region, in 0..1, and the interval that holds it with this confidence.

    ``outside`` says where the agreement lies of what the calibration has seen: ``"below"``, ``"above"``, or nothing.
    """

    agreement: float
    dice: float
    low: float
    high: float
    confidence: float
    outside: str


@dataclass(frozen=True)
class AgreementRegression:
    """The Dice to expect of an agreement: never less for more, piecewise linear, constant beyond what was seen.

    ``f(s, a) = D_s + g(a - A_s)``, where A_s and D_s are the mean agreement and Dice of the subset s, and g is the
    isotonic regression of the deviations of Dice on those of agreement, each patient having the same weight.

    Attributes:
        means: {subset: (A_s, D_s)}.
        agreement, dice: the knots of g, deviations in -1..1, the first ascending, the second not descending.
    """

    means: Mapping[str, tuple[float, float]]
    agreement: tuple[float, ...]
    dice: tuple[float, ...]

    @classmethod
    def fit(cls, seen: Observations) -> AgreementRegression:
        """Fit by the pool-adjacent-violators algorithm (Barlow et al. 1972); equal agreements count as their mean.

        Raises:
            ValueError: there is no observation.
        """
        from scipy.optimize import isotonic_regression

        if not len(seen):
            raise ValueError("A regression needs observations, got none.")
        weights = _weights(seen.patients)
        found, index = np.unique(seen.subsets, return_inverse=True)
        total = np.bincount(index, weights)
        centre_a, centre_d = (np.bincount(index, weights * each) / total for each in (seen.agreement, seen.dice))
        # Rounding, so that agreements that are equal are so in every subset.
        places, tied = np.unique(np.round(seen.agreement - centre_a[index], _DECIMALS), return_inverse=True)
        of_place = np.bincount(tied, weights)
        mean = np.bincount(tied, weights * (seen.dice - centre_d[index])) / of_place
        fitted = isotonic_regression(mean, weights=of_place).x
        # The ends of each level are enough.
        steps = np.diff(fitted) != 0
        knots = np.concatenate(([True], steps)) | np.concatenate((steps, [True]))
        means = {seen.names[name]: (float(a), float(d)) for name, a, d in zip(found, centre_a, centre_d, strict=True)}
        return cls(means, tuple(places[knots].tolist()), tuple(fitted[knots].tolist()))

    def expect(self, names: Sequence[str], subsets: Numbers, agreement: Floats) -> Floats:
        """Return the Dice to expect, in 0..1; NaN for a subset that was not seen.

        Args:
            names: of subsets.
            subsets: the position in ``names`` of each prediction's subset.
            agreement: of each prediction.
        """
        centres = np.array([self.means.get(name, (nan, nan)) for name in names]).reshape(-1, 2)[subsets]
        moved = centres[:, 1] + np.interp(agreement - centres[:, 0], self.agreement, self.dice)
        expected: Floats = np.clip(moved, 0, 1)
        return expected


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the true Dice of patients that they were not made from.

    ``share`` is the mean over patients of the share of their predictions, in 0..1, and NaN where it was not measured.
    """

    share: float = nan
    patients: int = 0
    observations: int = 0


@dataclass(frozen=True)
class Calibration:
    """What the evaluated cases tell of a new one, for one region and one number of present modalities.

    Attributes:
        patients, observations: how many there were.
        confidence: of the intervals, NaN if there are too few patients for any.
        half_width: of an interval, in 0..1, before it is cut off at 0 and 1.
        regression: gives its middle; None if there are too few patients.
        coverage: as measured.
    """

    patients: int
    observations: int
    confidence: float = nan
    half_width: float = nan
    regression: AgreementRegression | None = None
    coverage: Coverage = field(default_factory=Coverage)

    def why_none(self, subset: str) -> str | None:
        """Return why there is no interval for a subset, as a clause, or None if there is one."""
        if self.regression is None:
            fewest = min(CONFIDENCES)
            return (
                f"it was calibrated on {self.patients} patient{'s' * (self.patients != 1)}, and an interval of "
                f"{100 * fewest:g} % needs {least_patients(fewest)}"
            )
        if subset not in self.regression.means:
            return f"no evaluated case has the modalities {subset}"
        return None

    def interval(self, subset: str, agreement: float) -> CaseInterval:
        """Return the interval ``f(subset, agreement) +- half_width`` of a case, within 0..1.

        Raises:
            ValueError: there is none, see `why_none`.
        """
        if self.regression is None or subset not in self.regression.means:
            raise ValueError(f"There is no interval: {self.why_none(subset)}.")
        dice = float(self.regression.expect([subset], np.array([0]), np.array([agreement]))[0])
        deviation = agreement - self.regression.means[subset][0]
        below = deviation < self.regression.agreement[0] - _ROUNDING
        above = deviation > self.regression.agreement[-1] + _ROUNDING
        return CaseInterval(
            agreement=agreement,
            dice=dice,
            low=max(0.0, dice - self.half_width),
            high=min(1.0, dice + self.half_width),
            confidence=self.confidence,
            outside="below" if below else "above" if above else "",
        )


class HeldOut(NamedTuple):
    """Intervals of evaluated predictions, each made without the patient; NaN where there was none. Numbers in 0..1."""

    seen: Observations
    confidence: float
    dice: Floats
    low: Floats
    high: Floats

    @property
    def coverage(self) -> Coverage:
        """How often they hold the true Dice, over the patients that have intervals."""
        inside = (self.seen.dice >= self.low - _ROUNDING) & (self.seen.dice <= self.high + _ROUNDING)
        measured = self.seen.where(~np.isnan(self.low))
        return Coverage(self._mean(inside), measured.count, len(measured))

    @property
    def width(self) -> float:
        """The mean width of the intervals; NaN if there is none."""
        return self._mean(self.high - self.low)

    def _mean(self, values: NDArray[Any]) -> float:
        """Return the mean of what has an interval, each patient having the same weight."""
        has = ~np.isnan(self.low)
        weights = _weights(self.seen.where(has).patients)
        return float(np.average(values[has], weights=weights)) if has.any() else nan


def held_out(seen: Observations) -> HeldOut:
    """Return an interval of every prediction, from a calibration on the patients of the other parts.

    There are 20 parts, or one per patient. The confidence is the one that all patients together allow; where those of
    the other parts are too few for it, there is no interval.
    """
    confidence = reached_confidence(seen.count)
    dice, low, high = np.full((3, len(seen)), nan)
    parts = seen.parts(_HELD_OUT_PARTS)
    for part in np.unique(parts):
        own = parts == part
        others = seen.where(~own)
        if isnan(confidence) or others.count < least_patients(confidence):
            continue
        regression, half_width = _fitted(others, confidence)
        of_part = seen.where(own)
        dice[own] = regression.expect(of_part.names, of_part.subsets, of_part.agreement)
        low[own], high[own] = np.maximum(dice[own] - half_width, 0), np.minimum(dice[own] + half_width, 1)
    return HeldOut(seen, confidence, dice, low, high)


def calibrate(measured: HeldOut) -> Calibration:
    """Return the calibration on all observations of ``measured``, with the coverage that was measured on them.

    The residuals ``|Dice - f(s, a)|`` are those of cross-fitting: f is fitted in turn without each of five parts of the
    patients, and the residuals of that part are taken. The half width is their `conformal_quantile`; the regression in
    use is fitted on all.

    Source: cross-conformal predictors, Vovk, Annals of Mathematics and Artificial Intelligence 2015; with the
    regression refitted on all, as here, coverage has no proof, and is therefore measured.
    """
    seen = measured.seen
    if isnan(measured.confidence):
        return Calibration(seen.count, len(seen))
    regression, half_width = _fitted(seen, measured.confidence)
    return Calibration(
        patients=seen.count,
        observations=len(seen),
        confidence=measured.confidence,
        half_width=half_width,
        regression=regression,
        coverage=measured.coverage,
    )


def _fitted(seen: Observations, confidence: float) -> tuple[AgreementRegression, float]:
    """Return the regression on all observations, and the half width from residuals of cross-fitting."""
    expected = np.full(len(seen), nan)
    parts = seen.parts(_FITS)
    for part in np.unique(parts):
        own = parts == part
        of_part = seen.where(own)
        expected[own] = AgreementRegression.fit(seen.where(~own)).expect(
            of_part.names, of_part.subsets, of_part.agreement
        )
    residuals: NDArray[Any] = np.abs(seen.dice - expected)
    # Of a subset that one part alone has, nothing is known without it: any Dice may be.
    residuals[np.isnan(residuals)] = 1.0
    return AgreementRegression.fit(seen), min(1.0, conformal_quantile(residuals, seen.patients, confidence))
