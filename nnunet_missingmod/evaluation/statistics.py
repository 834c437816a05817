"""Confidence intervals and paired tests over patients, from the values that ``aggregation`` returns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isnan, nan
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.aggregation import CaseValues, Column
from nnunet_missingmod.modalities import Subset

# A smaller difference counts as zero: it is a rounding error (of a mean over seeds, for example).
_ZERO = 1e-9
# The most patients for which all signs are permuted if ties or zeros make scipy's exact distribution wrong.
_PERMUTED = 13


@dataclass(frozen=True)
class Interval:
    """A mean, the limits of its confidence interval, and the number of cases it averages; undefined numbers are NaN.

    If it averages several subsets or regions, ``count`` is that of the one with the fewest cases.
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
    """The patient-level percentile bootstrap (Efron 1979): its number of resamples, its confidence and its seed.

    Patients are drawn with replacement, each with all of its cases, subsets and regions. These are not independent of
    each other; resampling them separately would give intervals that are far too narrow.
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
        weights: NDArray[np.float64] | None = None,
    ) -> Interval:
        """Return the mean over columns of the mean over cases of an array (cases, columns), with its interval.

        A column's mean leaves out NaN; if a column is all NaN, the mean is undefined. Resamples in which a column has
        no case are left out. ``patients`` names the patient of each case; by default each case is a patient. With fewer
        than two patients there is no interval. ``weights`` of the columns, 1 in sum, make their mean a weighted one.
        """
        values = np.ascontiguousarray(values, np.float64)  # so that the order of summation is always the same
        mean, count = column_mean(values, weights)
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
            # All columns have the same cases, so averaging columns first gives the same result and is faster.
            sums, counts = _over_columns(sums, weights)[:, None], counts[:, :1]
            weights = None
        drawn = _weights(len(index), self.resamples, self.seed)
        with np.errstate(invalid="ignore"):
            means = _over_columns((drawn @ sums) / (drawn @ counts), weights)  # resamples
        tail = 50 * (1 - self.confidence)
        low, high = np.percentile(means[~np.isnan(means)], (tail, 100 - tail))
        return Interval(mean, float(low), float(high), count)


def column_mean(values: NDArray[Any], weights: NDArray[np.float64] | None = None) -> tuple[float, int]:
    """Return the mean over columns of the mean over cases of an array (cases, columns), and a column's fewest cases.

    A column's mean leaves out NaN; if a column is all NaN, the mean is NaN and the number of cases 0. ``weights`` are
    as in `Bootstrap.interval`.
    """
    values = np.ascontiguousarray(values, np.float64)
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    if not counts.size or not counts.all():
        return nan, 0
    return float(_over_columns(np.nansum(values, axis=0) / counts, weights)), int(counts.min())


def _over_columns(means: NDArray[np.float64], weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the mean over the last axis, the columns; with ``weights`` the weighted one."""
    return np.asarray(means.mean(axis=-1) if weights is None else means @ weights)


@lru_cache(maxsize=4)
def _weights(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each patient occurs in each resample, (resamples, patients)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(patients, np.full(patients, 1 / patients), size=resamples).astype(np.float64)


@dataclass(frozen=True)
class Comparison:
    """Model minus baseline in one region and column, which averages ``subsets``.

    ``wins``, ``ties`` and ``losses`` count the patients for which the model is better, equal or worse; for HD95 a lower
    value is better. ``p`` comes from `paired_wilcoxon`, and ``p_holm`` is ``p`` corrected for the ``tests`` of its
    ``family``, as in `compare`; both are NaN without patients. ``rank_sum`` is the sum of the signed ranks; its sign is
    the direction of the test.
    """

    model: str
    baseline: str
    region: str
    heading: str
    difference: Interval
    wins: int
    ties: int
    losses: int
    rank_sum: float
    p: float
    p_holm: float
    subsets: tuple[Subset, ...] = ()
    family: str = ""
    tests: int = 0


def paired_wilcoxon(differences: NDArray[Any]) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test on paired differences, one per patient, without NaN.

    Zero differences are ranked and then left out of both sums (Pratt 1959). Leaving them out before ranking would
    reward a model for being equal on many patients. Without zeros and ties the distribution is exact up to 50 patients;
    with them it is exact up to 13, by permutation of the signs. Otherwise it is the normal approximation, corrected for
    ties. If all differences are zero, p is 1; without differences it is NaN.
    """
    from scipy.stats import PermutationMethod, wilcoxon

    if not len(differences):
        return nan
    rounded = _without_rounding(differences)
    if not rounded.any():
        return 1.0
    plain = rounded.all() and len(np.unique(np.abs(rounded))) == len(rounded)
    method = "auto" if plain or len(rounded) > _PERMUTED else PermutationMethod(n_resamples=2**_PERMUTED + 1)
    return float(wilcoxon(rounded, zero_method="pratt", correction=False, method=method).pvalue)


def signed_rank_sum(differences: NDArray[Any]) -> float:
    """Return the sum over differences of sign times rank of the magnitude; zeros are ranked, ties share a mean rank."""
    from scipy.stats import rankdata

    rounded = _without_rounding(differences)
    return float(np.sum(np.sign(rounded) * rankdata(np.abs(rounded))))


def _without_rounding(differences: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(np.abs(differences) < _ZERO, 0.0, differences)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down method (1979); NaN stays NaN and is not counted.

    With p(1) <= ... <= p(m): corrected p(i) = max over j <= i of min(1, (m - j + 1) p(j)).
    """
    corrected = [nan] * len(p_values)
    ranked = sorted((p, index) for index, p in enumerate(p_values) if not isnan(p))
    largest = 0.0
    for position, (p, index) in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - position) * p))
        corrected[index] = largest
    return corrected


def compare(
    values: CaseValues,
    *,
    model: str,
    baseline: str,
    columns: Sequence[Column],
    bootstrap: Bootstrap,
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[Comparison]:
    """Compare two models in every region and column, over the cases for which both have a score.

    A test has one difference per patient: the mean over all defined differences of its cases in the region and column.
    Holm's correction treats four families of tests separately: single regions in columns of one subset, single regions
    in columns that average subsets, averaged regions in columns of one subset, and averaged regions in columns that
    average subsets. Columns of the same subsets are one test, whatever their headings, and so are groups of the same
    regions; it is counted once. What is shown in several tables has to be compared by one call, since a family is what
    one call compares.

    ``regions`` groups regions, as in {"mean": ("WT", "TC", "ET")}; by default each region is a group of its own.
    ``patients`` maps cases to patients; a case that it does not name is its own patient.

    Raises:
        ValueError: a model has no rows.
    """
    for name in (model, baseline):
        if name not in values.models:
            raise ValueError(f"{name!r} has no score rows; the models are {', '.join(values.models)}.")
    owners = [(patients or {}).get(case, case) for case in values.cases]
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    sign = 1.0 if values.metric.higher_is_better else -1.0
    shown = [(region, frozenset(members), column) for region, members in groups.items() for column in columns]
    tested: dict[tuple[frozenset[str], frozenset[Subset]], Comparison] = {}
    families: defaultdict[str, list[tuple[frozenset[str], frozenset[Subset]]]] = defaultdict(list)
    for region, members, column in shown:
        key = members, frozenset(column.subsets)
        if key in tested:
            continue
        paired = values.difference(model, baseline, groups[region], column.subsets)
        per_patient = _per_patient(paired, owners)
        family = f"{_kind(len(key[1]), 'subset')} in {_kind(len(members), 'region')}"
        families[family].append(key)
        tested[key] = Comparison(
            model=model,
            baseline=baseline,
            region=region,
            heading=column.heading,
            difference=bootstrap.interval(paired, owners),
            wins=int(np.count_nonzero(sign * per_patient >= _ZERO)),
            ties=int(np.count_nonzero(np.abs(per_patient) < _ZERO)),
            losses=int(np.count_nonzero(sign * per_patient <= -_ZERO)),
            rank_sum=signed_rank_sum(per_patient),
            p=paired_wilcoxon(per_patient),
            p_holm=nan,
            subsets=column.subsets,
            family=family,
        )
    for keys in families.values():
        corrected = holm([tested[key].p for key in keys])
        counted = sum(not isnan(p) for p in corrected)
        for key, p in zip(keys, corrected, strict=True):
            tested[key] = replace(tested[key], p_holm=p, tests=counted)
    return [
        replace(tested[members, frozenset(column.subsets)], region=region, heading=column.heading)
        for region, members, column in shown
    ]


def compare_pairs(
    values: CaseValues,
    pairs: Sequence[tuple[str, str]],
    *,
    columns: Sequence[Column],
    bootstrap: Bootstrap,
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[Comparison]:
    """Compare the models of each pair (model, baseline) by `compare`, each pair with families of its own."""
    return [
        each
        for model, baseline in pairs
        for each in compare(
            values,
            model=model,
            baseline=baseline,
            columns=columns,
            bootstrap=bootstrap,
            regions=regions,
            patients=patients,
        )
    ]


def _kind(count: int, of_what: str) -> str:
    """Return half of a family's name: ``"single subsets"`` or ``"averages over subsets"``."""
    return f"single {of_what}s" if count == 1 else f"averages over {of_what}s"


def _per_patient(paired: NDArray[Any], owners: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean of each patient's defined differences, (cases, columns) -> (patients,)."""
    of_patient: dict[str, list[float]] = {}
    for owner, differences in zip(owners, paired, strict=True):
        of_patient.setdefault(owner, []).extend(differences[~np.isnan(differences)])
    return np.array([fmean(defined) for defined in of_patient.values() if defined])
