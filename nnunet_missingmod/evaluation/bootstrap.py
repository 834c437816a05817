"""Means over cases and their confidence intervals, by resampling patients."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A mean with the limits of its confidence interval, NaN where undefined, and how many cases it averages.

    Where it averages several subsets or regions, ``count`` is that of the one with the fewest cases.
    """

    mean: float
    low: float
    high: float
    count: int

    def as_json(self) -> dict[str, float | int | None]:
        """Return the numbers by name, undefined ones as None, since JSON has no NaN."""
        ends = {"mean": self.mean, "low": self.low, "high": self.high}
        return {**{name: None if isnan(value) else value for name, value in ends.items()}, "count": self.count}


@dataclass(frozen=True)
class Bootstrap:
    """The patient-level percentile bootstrap (Efron 1979): how many resamples, at which confidence, from which seed.

    Patients are drawn with replacement, and with a patient all of its cases, subsets and regions: they are not
    independent of each other, and resampling them one by one would give intervals that are far too narrow.
    """

    resamples: int = 5000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no interval.

        Raises:
            ValueError: fewer than 100 resamples, or a confidence outside of 0..1.
        """
        if self.resamples < 100:
            raise ValueError(f"An interval needs 100 resamples or more, got {self.resamples}.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"The confidence lies between 0 and 1, got {self.confidence}.")

    def interval(self, values: NDArray[Any], patients: Sequence[Hashable] | None = None) -> Interval:
        """Return the mean over columns of the mean over cases of an array (cases, columns), with its interval.

        NaN leaves a column's mean; if a column holds nothing else, the mean is undefined. Resamples in which some
        column has no case are left out. ``patients`` names the patient of each case, by default each case's own; with
        fewer than two patients there is no interval.
        """
        values = np.ascontiguousarray(values, np.float64)  # the order of summation must not depend on the layout
        mean, count = column_mean(values)
        defined = ~np.isnan(values).all(axis=1)
        owners = list(range(len(values))) if patients is None else list(patients)
        if len(owners) != len(values):
            raise ValueError(f"Each of the {len(values)} cases has a patient, got {len(owners)}.")
        kept = [owner for owner, keep in zip(owners, defined, strict=True) if keep]
        index = {owner: position for position, owner in enumerate(dict.fromkeys(kept))}
        if isnan(mean) or len(index) < 2:
            return Interval(mean, nan, nan, count)
        rows = np.array([index[owner] for owner in kept])
        sums, counts = np.zeros((2, len(index), values.shape[1]))  # patients x columns
        np.add.at(sums, rows, np.nan_to_num(values[defined]))
        np.add.at(counts, rows, ~np.isnan(values[defined]))
        if (counts == counts[:, :1]).all():
            # Every column has the same cases, so that the mean over columns may come first: the same, and faster.
            sums, counts = sums.mean(axis=1, keepdims=True), counts[:, :1]
        weights = _weights(len(index), self.resamples, self.seed)
        with np.errstate(invalid="ignore"):
            means = ((weights @ sums) / (weights @ counts)).mean(axis=1)  # resamples
        tail = 50 * (1 - self.confidence)
        low, high = np.percentile(means[~np.isnan(means)], (tail, 100 - tail))
        return Interval(mean, float(low), float(high), count)


def column_mean(values: NDArray[Any]) -> tuple[float, int]:
    """Return the mean over columns of the mean over cases of an array (cases, columns), and a column's fewest cases.

    NaN leaves the mean of its column; a column of NaN makes the whole undefined.
    """
    values = np.ascontiguousarray(values, np.float64)
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    if not counts.size or not counts.all():
        return nan, 0
    return float((np.nansum(values, axis=0) / counts).mean()), int(counts.min())


@lru_cache(maxsize=4)
def _weights(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each patient occurs in each resample, (resamples, patients)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(patients, np.full(patients, 1 / patients), size=resamples).astype(np.float64)
