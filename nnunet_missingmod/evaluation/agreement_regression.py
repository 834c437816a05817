"""The Dice to expect of an agreement: isotonic regression over evaluated predictions, each patient weighing the same.

``conformal`` puts an interval around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

# Of agreement minus its mean.
_DECIMALS = 9

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


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


def patient_weights(patients: Numbers) -> Floats:
    """Return weights that give each patient 1, shared equally by its observations."""
    _, index, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights: Floats = 1.0 / counts[index]
    return weights


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
        weights = patient_weights(seen.patients)
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
