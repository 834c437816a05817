"""Confidence intervals of means, by the bootstrap over patients.

Those of tables, comparisons and model card, and most of the report, are made here; docs/metrics.md has their coverage.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isnan, nan, sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SHOWN_FROM = 6
"""The fewest patients for which an interval is shown: with fewer it covers too seldom (docs/metrics.md)."""
SKEWED_FROM = 12
"""The same of a studentised interval."""

# From so many patients on, how often each is drawn comes from independent Poisson distributions.
_MANY_PATIENTS = 200
# How many columns are resampled at once: 5000 means of each are 20 MB.
_COLUMNS_AT_ONCE = 512
# Limits are rounded to so many decimals, so that they do not depend on how many means are resampled at once.
_DECIMALS = 12
# A standard deviation below this share of the mean is a rounding error.
_ROUNDING = 1e-12

# The position of an array among those given, and of its patients the sums and numbers of values: (patients, columns).
_Cell = tuple[int, NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Interval:
    """A mean, the limits of its confidence interval, and the number of cases it averages; undefined numbers are NaN.

    If it averages several subsets or regions, ``count`` is that of the one with the fewest cases. ``counts`` says what
    it counts: shares count patients.
    """

    mean: float
    low: float
    high: float
    count: int
    counts: Literal["cases", "patients"] = "cases"

    def as_json(self) -> dict[str, float | int | None]:
        """Return the numbers by name, undefined ones as None, since JSON has no NaN."""
        ends = {"mean": self.mean, "low": self.low, "high": self.high}
        return {**{name: None if isnan(value) else value for name, value in ends.items()}, "count": self.count}


@dataclass(frozen=True)
class Bootstrap:
    """The patient-level bootstrap (Efron 1979): its number of resamples, its confidence and its seed.

    Patients are drawn with replacement, each with all of its cases, subsets and regions. These are not independent of
    each other; resampling them separately would give intervals that are far too narrow. From 200 patients on, how often
    each is drawn follows a Poisson distribution of mean 1 in place of the multinomial one, which is the same to within
    one part in the number of patients (Hanley and MacGibbon 2006) and spares most of the drawing.
    """

    resamples: int = 5000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: there are fewer than 100 resamples, or the confidence is not between 0 and 1.
        """
        if self.resamples < 100:
            raise ValueError(f"An interval needs 100 resamples or more, got {self.resamples}.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"The confidence lies between 0 and 1, got {self.confidence}.")

    def interval(
        self,
        values: NDArray[Any],
        patients: Sequence[Hashable] | None = None,
        *,
        skewed: bool = False,
        bounds: tuple[float, float] = (-inf, inf),
    ) -> Interval:
        """Return the mean over columns of the mean over cases of an array (cases, columns), with its interval.

        A column's mean leaves out NaN; if a column is all NaN, the mean is undefined. Resamples in which a column has
        no case are left out. ``patients`` names the patient of each case; by default each case is a patient. The number
        of patients, n, is that of the column with the fewest: a mean over columns is as sure as its least sure part.
        With fewer than `SHOWN_FROM` there is no interval.

        The interval is the expanded percentile interval (Hesterberg 2015, section 4.2): the percentiles ``P`` and ``1 -
        P`` of the resampled means with ``P = Phi(-sqrt(n / (n - 1)) t)``, t the quantile of Student's t of n - 1
        degrees of freedom. Plain percentiles (``P`` = 2.5 %) give intervals that are too narrow for few patients.

        With ``skewed`` it is the studentised interval (Efron and Tibshirani 1993, section 12.5), which follows long
        tails: ``mean - q s`` with q the percentiles ``1 - P`` and ``P`` of ``(mean* - mean) / s*`` over the resamples,
        and s, s* the standard errors of the mean, linearised (the infinitesimal jackknife) where columns differ in
        their cases. The book's plain percentiles hold the truth too seldom where the tail is very long. Its limits are
        moved into ``bounds``, the values that a mean can have; with fewer than `SKEWED_FROM` patients there is none.
        """
        return self.intervals([values], patients, skewed=skewed, bounds=bounds)[0]

    def intervals(
        self,
        arrays: Sequence[NDArray[Any]],
        patients: Sequence[Hashable] | None = None,
        *,
        skewed: bool = False,
        bounds: tuple[float, float] = (-inf, inf),
    ) -> list[Interval]:
        """Return the `interval` of every array, all of the same cases; many at once are several times faster."""
        found = [Interval(mean, nan, nan, count) for mean, count in map(column_mean, arrays)]
        for position, number, low, high in (self._studentised if skewed else self._percentiles)(arrays, patients):
            if number >= (SKEWED_FROM if skewed else SHOWN_FROM):
                low, high = (min(max(round(end, _DECIMALS), bounds[0]), bounds[1]) for end in (low, high))
                found[position] = Interval(found[position].mean, low, high, found[position].count)
        return found

    def resampled_means(
        self, arrays: Sequence[NDArray[Any]], patients: Sequence[Hashable] | None = None
    ) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        """Yield position, number of patients and resampled means of every array with a mean and two patients.

        Arrays whose patients with any value are as many are resampled alike: the same patients are drawn of each. The
        number that is yielded is that of the column with the fewest.
        """
        for cells in self._by_number(arrays, patients).values():
            for group in _in_groups(cells):
                distinct: dict[bytes, int] = {}
                columns: list[NDArray[np.float64]] = []
                for column in (column for _, *parts in group for part in parts for column in part.T):
                    if distinct.setdefault(column.tobytes(), len(columns)) == len(columns):
                        columns.append(column)
                totals = self._resampled(np.stack(columns, axis=1))
                for position, *parts in group:
                    sums, counts = ([distinct[column.tobytes()] for column in part.T] for part in parts)
                    with np.errstate(invalid="ignore"):
                        yield position, _fewest(parts[1]), (totals[sums] / totals[counts]).mean(axis=0)

    def percentiles(self, resampled: NDArray[np.float64], patients: int) -> tuple[float, float]:
        """Return the limits of the expanded percentile interval; NaN is left out."""
        tail = self._tail(patients)
        low, high = np.percentile(resampled[~np.isnan(resampled)], (tail, 100 - tail))
        return float(low), float(high)

    def _tail(self, patients: int) -> float:
        """Return ``P`` of `interval`, in percent."""
        from scipy.special import stdtrit

        quantile = float(stdtrit(patients - 1, (1 + self.confidence) / 2))
        return 100 * NormalDist().cdf(-sqrt(patients / (patients - 1)) * quantile)

    def _by_number(self, arrays: Sequence[NDArray[Any]], patients: Sequence[Hashable] | None) -> dict[int, list[_Cell]]:
        """Return position, sums and counts of the arrays with a mean and two patients, by the patients with any value.

        An array of which a column has a single patient has no spread to resample, and is left out.
        """
        owners = None if patients is None else patient_numbers(patients)
        found: dict[int, list[_Cell]] = {}
        for position, values in enumerate(arrays):
            # In this layout the order of summation is always the same.
            sums, counts = by_patient(np.ascontiguousarray(values, np.float64), owners)
            if _fewest(counts) > 1:
                found.setdefault(len(sums), []).append((position, sums, counts))
        return found

    def _resampled(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of every resample, (patients, columns) -> (columns, resamples)."""
        return columns.T @ _weights(len(columns), self.resamples, self.seed)

    def _percentiles(
        self, arrays: Sequence[NDArray[Any]], patients: Sequence[Hashable] | None
    ) -> Iterator[tuple[int, int, float, float]]:
        """Yield position, number of patients, low and high of every array."""
        for position, number, means in self.resampled_means(arrays, patients):
            yield position, number, *self.percentiles(means, number)

    def _studentised(
        self, arrays: Sequence[NDArray[Any]], patients: Sequence[Hashable] | None
    ) -> Iterator[tuple[int, int, float, float]]:
        """Yield position, number of patients, low and high of every array, from one linearised value per patient."""
        for cells in self._by_number(arrays, patients).values():
            for start in range(0, len(cells), _COLUMNS_AT_ONCE // 2):
                group = cells[start : start + _COLUMNS_AT_ONCE // 2]
                values = np.stack([_linearised(sums, counts) for _, sums, counts in group], axis=1)
                numbers = [_fewest(counts) for _, _, counts in group]
                limits = self._studentised_limits(values, numbers)
                for (position, _, _), number, (low, high) in zip(group, numbers, limits, strict=True):
                    yield position, number, low, high

    def _studentised_limits(self, values: NDArray[np.float64], numbers: Sequence[int]) -> Iterator[tuple[float, float]]:
        """Yield low and high of the mean of every column, (patients, columns), each as of so many patients."""
        patients = len(values)
        drawn = self._resampled(np.ones((patients, 1)))[0]
        centres = values.mean(axis=0)
        values = values - centres
        shifts = self._resampled(values) / drawn
        squares = self._resampled(np.square(values)) / drawn
        spreads = np.sqrt(np.maximum(squares - np.square(shifts), 0) / (patients - 1))
        errors = np.sqrt(np.square(values).sum(axis=0) / (patients * (patients - 1)))
        for centre, error, shift, spread, number in zip(centres, errors, shifts, spreads, numbers, strict=True):
            varies = spread > _ROUNDING * (abs(centre) + error)
            if error <= _ROUNDING * abs(centre) or not varies.any():
                yield float(centre), float(centre)
                continue
            tail = self._tail(number)
            low, high = np.percentile(shift[varies] / spread[varies], (tail, 100 - tail))
            yield float(centre - high * error), float(centre - low * error)


def column_mean(values: NDArray[Any]) -> tuple[float, int]:
    """Return the mean over columns of the mean over cases of an array (cases, columns), and a column's fewest cases.

    A column's mean leaves out NaN; if a column is all NaN, the mean is NaN and the number of cases 0.
    """
    values = np.ascontiguousarray(values, np.float64)
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    if not counts.size or not counts.all():
        return nan, 0
    return float((np.nansum(values, axis=0) / counts).mean()), int(counts.min())


def patient_numbers(patients: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return the number of each case's patient, in the order in which patients first occur."""
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(patient, len(number)) for patient in patients], np.int64)


def per_patient(values: NDArray[Any], patients: Sequence[Hashable]) -> NDArray[np.float64]:
    """Return the mean of each patient's defined values, (cases, columns) -> (patients with any,)."""
    both = by_patient(np.asarray(values, np.float64), patient_numbers(patients), whole=True)
    sums, counts = (part.sum(axis=1) for part in both)
    return sums / counts


def linearised(values: NDArray[Any], owners: NDArray[np.int64] | None) -> tuple[NDArray[np.float64], int]:
    """Return one value per patient whose mean is `column_mean` (cases, columns), and a column's fewest patients.

    ``owners`` are `patient_numbers`. No value is returned where a column has none.
    """
    sums, counts = by_patient(np.ascontiguousarray(values, np.float64), owners)
    fewest = _fewest(counts)
    return (_linearised(sums, counts), fewest) if fewest else (np.zeros(0), 0)


def by_patient(
    values: NDArray[np.float64], owners: NDArray[np.int64] | None, *, whole: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each patient's sum and number of defined values, (patients with any, columns) both.

    Where every case has values in all columns or in none, so that the mean over columns and that over cases can be
    exchanged, both are of one column, the mean over columns; not with ``whole``. ``owners`` holds the number of each
    case's patient, see `patient_numbers`.

    Raises:
        ValueError: there are not as many patients as cases.
    """
    if owners is not None and len(owners) != len(values):
        raise ValueError(f"Each of the {len(values)} cases has a patient, got {len(owners)}.")
    known = ~np.isnan(values)
    kept = known.any(axis=1)
    sums, counts = np.where(known, values, 0.0)[kept], known[kept].astype(np.float64)
    if not whole and counts.size and (counts == counts[:, :1]).all():
        sums, counts = sums.mean(axis=1, keepdims=True), counts[:, :1]
    if owners is None:
        return sums, counts
    numbers, first, inverse = np.unique(owners[kept], return_index=True, return_inverse=True)
    if len(numbers) == len(inverse):
        return sums, counts
    position = np.empty(len(numbers), np.int64)
    position[np.argsort(first)] = np.arange(len(numbers))  # patients in the order of their first cases
    totals = np.zeros((2, len(numbers), sums.shape[1]))
    np.add.at(totals[0], position[inverse], sums)
    np.add.at(totals[1], position[inverse], counts)
    return totals[0], totals[1]


def _fewest(counts: NDArray[np.float64]) -> int:
    """Return how many patients have a value in the column where the fewest have, of numbers (patients, columns)."""
    return int(np.count_nonzero(counts, axis=0).min()) if counts.size else 0


def _linearised(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one value per patient whose mean is the mean over columns of ``sum / count``, and whose spread is its own.

    The value of patient i is ``m + n mean_c((s_ic - m_c n_ic) / N_c)``: with one case per patient and column its own
    mean over columns, else the first-order influence of the patient.
    """
    totals = counts.sum(axis=0)
    means = sums.sum(axis=0) / totals
    values: NDArray[np.float64] = means.mean() + len(sums) * ((sums - means * counts) / totals).mean(axis=1)
    return values


def _in_groups(cells: Sequence[_Cell]) -> Iterator[list[_Cell]]:
    """Split cells into groups of about `_COLUMNS_AT_ONCE` columns."""
    group: list[_Cell] = []
    columns = 0
    for cell in cells:
        group.append(cell)
        columns += 2 * cell[1].shape[1]
        if columns >= _COLUMNS_AT_ONCE:
            yield group
            group, columns = [], 0
    if group:
        yield group


def _weights(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each patient occurs in each resample, (patients, resamples)."""
    if patients < _MANY_PATIENTS:
        return _few_weights(patients, resamples, seed)
    # Patients are drawn one after another, so that those of fewer are the first of those of more.
    blocks = -(-patients // _MANY_PATIENTS)
    return _many_weights(1 << (blocks - 1).bit_length(), resamples, seed)[:patients]


@lru_cache(maxsize=4)
def _few_weights(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    return np.ascontiguousarray(drawn.T, np.float64)


@lru_cache(maxsize=1)
def _many_weights(blocks: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the numbers of ``blocks`` times `_MANY_PATIENTS` patients; kept for a power of two, so for any fewer."""
    generator = np.random.default_rng(seed)
    drawn = np.empty((blocks * _MANY_PATIENTS, resamples))
    for row in drawn:
        row[:] = generator.poisson(1.0, size=resamples)
    return drawn
