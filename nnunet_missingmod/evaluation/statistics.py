"""Paired tests over patients, from the values that ``aggregation`` returns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.aggregation import CaseValues, Column
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval, per_patient
from nnunet_missingmod.modalities import Subset

# Digits after the point within which differences are equal: beyond is the rounding of means and of subtractions.
_DIGITS = 9
# The most patients for which all signs are gone through: ties and zeros make scipy's exact distribution wrong.
_PERMUTED = 13
_Test = tuple[frozenset[str], frozenset[Subset]]


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

    Differences that agree to nine digits after the point are equal, so that 0.3 - 0.2 and 0.2 - 0.1 tie. Zero
    differences are ranked and then left out of both sums (Pratt 1959). Leaving them out before ranking would
    reward a model for being equal on many patients. The distribution is exact up to 13 patients, over all signs, and
    without zeros and ties up to 50. Otherwise it is the normal approximation, corrected for ties. If all differences
    are zero, p is 1; without differences it is NaN.
    """
    from scipy.stats import rankdata, wilcoxon

    if not len(differences):
        return nan
    rounded = without_rounding(differences)
    if not rounded.any():
        return 1.0
    if len(rounded) > _PERMUTED:
        return float(wilcoxon(rounded, zero_method="pratt", correction=False).pvalue)
    ranks = rankdata(np.abs(rounded))[rounded != 0]
    sums = np.abs(_all_signs(len(ranks)) @ ranks)
    # Sums of mean ranks are multiples of a half, so that nothing is lost to rounding.
    return float(np.mean(sums >= abs(np.sign(rounded[rounded != 0]) @ ranks)))


@lru_cache(maxsize=_PERMUTED)
def _all_signs(count: int) -> NDArray[np.float64]:
    """Return every choice of so many signs, (2^count, count)."""
    bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    return np.where(bits, 1.0, -1.0)


def signed_rank_sum(differences: NDArray[Any]) -> float:
    """Return the sum over differences of sign times rank of the magnitude; zeros are ranked, ties share a mean rank."""
    from scipy.stats import rankdata

    rounded = without_rounding(differences)
    return float(np.sum(np.sign(rounded) * rankdata(np.abs(rounded))))


def without_rounding(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return values in which those are equal that differ by the rounding of double precision alone."""
    return np.asarray(values, dtype=np.float64).round(_DIGITS)


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
    There is none where the difference of the means is undefined, as a subset or region of it has no pair.
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
    owners = values.owners(patients)
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    sign = 1.0 if values.metric.higher_is_better else -1.0
    shown = [(region, frozenset(members), column) for region, members in groups.items() for column in columns]
    tested: dict[_Test, Comparison] = {}
    first: dict[_Test, tuple[str, Column]] = {}
    paired: dict[_Test, NDArray[np.float64]] = {}
    families: defaultdict[str, list[_Test]] = defaultdict(list)
    for region, members, column in shown:
        key = members, frozenset(column.subsets)
        if key in paired:
            continue
        paired[key] = values.difference(model, baseline, groups[region], column.subsets)
        families[f"{_kind(len(key[1]), 'subset')} in {_kind(len(members), 'region')}"].append(key)
        first[key] = region, column
    intervals = dict(zip(paired, difference_intervals(values, list(paired.values()), owners, bootstrap), strict=True))
    for family, keys in families.items():
        # Where a subset or region of an average has no pair at all there is no difference, and so no test.
        differences = [
            np.zeros(0) if isnan(intervals[key].mean) else without_rounding(per_patient(paired[key], owners))
            for key in keys
        ]
        p_values = [paired_wilcoxon(each) for each in differences]
        for key, each, p, p_holm in zip(keys, differences, p_values, holm(p_values), strict=True):
            region, column = first[key]
            tested[key] = Comparison(
                model=model,
                baseline=baseline,
                region=region,
                heading=column.heading,
                difference=intervals[key],
                wins=int(np.count_nonzero(sign * each > 0)),
                ties=int(np.count_nonzero(each == 0)),
                losses=int(np.count_nonzero(sign * each < 0)),
                rank_sum=signed_rank_sum(each),
                p=p,
                p_holm=p_holm,
                subsets=column.subsets,
                family=family,
                tests=sum(not isnan(other) for other in p_values),
            )
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


def value_intervals(
    values: CaseValues, arrays: Sequence[NDArray[Any]], patients: Sequence[str], bootstrap: Bootstrap
) -> list[Interval]:
    """Return the interval of every array of scores, (cases, columns) each, as suits the metric: see `Bootstrap`."""
    return bootstrap.intervals(arrays, patients, skewed=values.metric.skewed, bounds=values.bounds)


def difference_intervals(
    values: CaseValues, arrays: Sequence[NDArray[Any]], patients: Sequence[str], bootstrap: Bootstrap
) -> list[Interval]:
    """Return the interval of every array of differences of two scores, as suits the metric."""
    low, high = values.bounds
    return bootstrap.intervals(arrays, patients, skewed=values.metric.skewed, bounds=(low - high, high - low))


def _kind(count: int, of_what: str) -> str:
    """Return half of a family's name: ``"single subsets"`` or ``"averages over subsets"``."""
    return f"single {of_what}s" if count == 1 else f"averages over {of_what}s"
