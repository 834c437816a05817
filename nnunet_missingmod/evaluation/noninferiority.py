"""Whether a model is no worse than a baseline on complete cases, by more than a margin that was given beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import numpy as np

from nnunet_missingmod.evaluation.aggregation import CaseValues
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.statistics import difference_intervals

Verdict = Literal["non-inferior", "inferior", "not shown"]


@dataclass(frozen=True)
class NonInferiority:
    """Model minus baseline in Dice on complete cases in one region, against ``-margin``; both in 0..1.

    ``left_out`` counts the cases (of a region each) for which one of the two models has no score.
    """

    model: str
    baseline: str
    region: str
    difference: Interval
    margin: float
    verdict: Verdict
    left_out: int


def noninferiority(
    values: CaseValues,
    pairs: Sequence[tuple[str, str]],
    *,
    margin: float,
    bootstrap: Bootstrap,
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[NonInferiority]:
    """Return the verdict on every pair (model, baseline) and group of regions, with all modalities present.

    ``"non-inferior"`` if the lower limit of the paired difference's two-sided interval lies above ``-margin`` (at 95 %
    that is a one-sided test at 2.5 %: Piaggio et al. 2012, the CONSORT statement on non-inferiority), ``"inferior"`` if
    the upper one lies below it, else ``"not shown"``. There are none where the subset of all modalities was not scored.
    ``regions`` and ``patients`` are as in `compare`.

    Raises:
        ValueError: the margin is not in 0..1, both excluded.
    """
    if not 0 < margin < 1:
        raise ValueError(f"A margin in Dice lies between 0 and 1, got {margin}.")
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    owners = values.owners(patients)
    complete = tuple(range(len(values.modalities)))
    if complete not in values.subsets:
        return []
    wanted = [(*pair, region, members) for pair in pairs for region, members in groups.items()]
    arrays = [values.difference(model, baseline, members, [complete]) for model, baseline, _, members in wanted]
    found = []
    for (model, baseline, region, members), interval in zip(
        wanted, difference_intervals(values, arrays, owners, bootstrap), strict=True
    ):
        one, two = (np.isnan(values.of(name, members, [complete])) for name in (model, baseline))
        found.append(
            NonInferiority(
                model=model,
                baseline=baseline,
                region=region,
                difference=interval,
                margin=margin,
                verdict=_verdict(interval, margin),
                left_out=int(np.count_nonzero(one != two)),
            )
        )
    return found


def _verdict(interval: Interval, margin: float) -> Verdict:
    if isnan(interval.low):
        return "not shown"
    if interval.low > -margin:
        return "non-inferior"
    return "inferior" if interval.high < -margin else "not shown"
