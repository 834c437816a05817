"""Two models on the same cases: mean differences with intervals, signed-rank tests, Holm's correction, wins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.bootstrap import Bootstrap, Interval
from nnunet_missingmod.evaluation.columns import Column
from nnunet_missingmod.evaluation.pooling import CaseValues

# Below this a difference is rounding (of a mean over seeds, say) and counts as zero.
_ZERO = 1e-9
# Up to so many patients all signs are tried where ties or zeros make scipy's exact distribution wrong.
_PERMUTED = 13


@dataclass(frozen=True)
class Comparison:
    """Model minus baseline in one region and column.

    ``wins``, ``ties`` and ``losses`` count the patients for which the model is better, equal or worse, whichever way
    the metric points. ``p`` is that of `paired_wilcoxon`, ``p_holm`` corrected as `compare` says; NaN without patients.
    ``rank_sum`` is the sum of the signed ranks: its sign is the direction that the test speaks of.
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


def paired_wilcoxon(differences: NDArray[Any]) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test on paired differences, one per patient, without NaN.

    Zero differences are ranked and then left out of both sums (Pratt 1959), which does not reward a model for being
    equal on many patients as leaving them out before does. Without zeros and ties the distribution is exact up to 50
    patients; with them it is up to 13, by permutation of the signs; else it is the normal approximation corrected for
    ties. Nothing but zeros gives 1, no differences NaN.
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
    """Return the sum over differences of sign times rank of the magnitude, zeros ranked, ties at their mean rank."""
    from scipy.stats import rankdata

    rounded = _without_rounding(differences)
    return float(np.sum(np.sign(rounded) * rankdata(np.abs(rounded))))


def _without_rounding(differences: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(np.abs(differences) < _ZERO, 0.0, differences)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down method (1979), NaN apart and not counted.

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

    A test has one difference per patient: the mean over all its defined differences of the region and column.
    Holm's correction counts the columns of one subset times the regions as one family of tests; what averages several
    subsets, several regions, or both, is a family of its own each. ``regions`` groups regions into one, as in
    {"mean": ("WT", "TC", "ET")}; by default each stands alone. ``patients`` gives the patient of a case where that is
    not the case itself.

    Raises:
        ValueError: a model has no rows.
    """
    for name in (model, baseline):
        if name not in values.models:
            raise ValueError(f"{name!r} has no score rows; the models are {', '.join(values.models)}.")
    owners = [(patients or {}).get(case, case) for case in values.cases]
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    sign = 1.0 if values.metric.higher_is_better else -1.0
    found: list[Comparison] = []
    families: defaultdict[tuple[bool, bool], list[int]] = defaultdict(list)
    for region, members in groups.items():
        for column in columns:
            paired = values.difference(model, baseline, members, column.subsets)
            per_patient = _per_patient(paired, owners)
            families[len(members) == 1, len(column.subsets) == 1].append(len(found))
            found.append(
                Comparison(
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
                )
            )
    for members_of_family in families.values():
        corrected = holm([found[index].p for index in members_of_family])
        for index, p in zip(members_of_family, corrected, strict=True):
            found[index] = replace(found[index], p_holm=p)
    return found


def _per_patient(paired: NDArray[Any], owners: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean of each patient's defined differences, (cases, columns) -> (patients,)."""
    of_patient: dict[str, list[float]] = {}
    for owner, differences in zip(owners, paired, strict=True):
        of_patient.setdefault(owner, []).extend(differences[~np.isnan(differences)])
    return np.array([fmean(defined) for defined in of_patient.values() if defined])
