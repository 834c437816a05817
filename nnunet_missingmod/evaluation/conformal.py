"""Conformal prediction of a case's Dice: from the agreement of its predictions to an interval with known coverage.

``calibrate`` learns from evaluated cases, whose Dice is known; `Calibration.interval` speaks of a new one. `held_out`
measures, on the cases themselves, how often such intervals hold what they promise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf, isnan, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.agreement_regression import (
    AgreementRegression,
    Floats,
    Numbers,
    Observations,
    patient_weights,
)

CONFIDENCES = (0.95, 0.9)
"""The confidence of intervals: the first for which there are patients enough."""

# Of the cross-fitting within a calibration, and of the measurement of its coverage; no more than there are patients.
_FITS = 5
_HELD_OUT_PARTS = 20
# Of sums of weights, which would be equal without rounding.
_ROUNDING = 1e-9


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
    reached = np.cumsum(patient_weights(patients)[order]) / (count + 1)
    return float(residuals[order][np.searchsorted(reached, confidence - _ROUNDING)])


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
        weights = patient_weights(self.seen.where(has).patients)
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
