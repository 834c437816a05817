"""How many patients a comparison needs, and what those that there are can resolve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, isnan, nan, sqrt
from statistics import NormalDist

import numpy as np

from nnunet_missingmod.evaluation.aggregation import CaseValues, Column
from nnunet_missingmod.evaluation.intervals import column_mean, per_patient

FEW_PATIENTS = 50
"""With fewer patients the report warns: differences of a point or two of Dice are then mostly not resolved."""
POINT = 0.01
"""One point of Dice."""
SIGNIFICANCE = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Resolution:
    """What a comparison of two models can resolve in one region and column.

    ``sd`` is the standard deviation over patients of the paired differences in Dice, ``needed`` the number of patients
    that resolve one point (`patients_needed`), ``resolved`` the difference that as many patients as there are resolve
    (`difference_resolved`). NaN with fewer than two patients.
    """

    model: str
    baseline: str
    region: str
    subset: str
    patients: int
    sd: float
    needed: float
    resolved: float


def resolutions(
    values: CaseValues,
    pairs: Sequence[tuple[str, str]],
    *,
    columns: Sequence[Column],
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[Resolution]:
    """Return the resolution of every pair (model, baseline), group of regions and column.

    A patient's difference is as in `compare`, and so are ``regions`` and ``patients``.
    """
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    owners = values.owners(patients)
    found = []
    for model, baseline in pairs:
        for region, members in groups.items():
            for column in columns:
                pairs_of_cases = values.difference(model, baseline, members, column.subsets)
                undefined = isnan(column_mean(pairs_of_cases)[0])
                differences = np.zeros(0) if undefined else per_patient(pairs_of_cases, owners)
                number = len(differences)
                sd = float(np.std(differences, ddof=1)) if number > 1 else nan
                needed = float(patients_needed(sd)) if number > 1 else nan
                resolved = difference_resolved(number, sd) if number > 1 else nan
                found.append(Resolution(model, baseline, region, column.heading, number, sd, needed, resolved))
    return found


def patients_needed(
    sd: float, *, difference: float = POINT, significance: float = SIGNIFICANCE, power: float = POWER
) -> int:
    """Return how many patients a paired t test needs to find a difference, two-sided.

    ``n = (z_a + z_b)^2 / d^2 + z_a^2 / 2``, rounded up and at least 2, with ``d = difference / sd``, ``z_a`` the normal
    quantile of 1 - significance / 2 and ``z_b`` that of the power (Guenther 1981, which is the t test's exact number to
    within one; a test compares).

    Raises:
        ValueError: the standard deviation is negative or the difference not above 0.
    """
    if not 0 <= sd < inf or not difference > 0:
        raise ValueError(f"A standard deviation is 0 or more and a difference above 0, got {sd} and {difference}.")
    of_test, of_both = _quantiles(significance, power)
    return max(2, ceil((of_both * sd / difference) ** 2 + of_test**2 / 2))


def difference_resolved(patients: int, sd: float, *, significance: float = SIGNIFICANCE, power: float = POWER) -> float:
    """Return the difference that so many patients resolve: the one for which `patients_needed` is that number.

    Infinite with so few patients that no difference is.
    """
    of_test, of_both = _quantiles(significance, power)
    left = patients - of_test**2 / 2
    return of_both * sd / sqrt(left) if left > 0 else inf


def _quantiles(significance: float, power: float) -> tuple[float, float]:
    """Return ``z_a`` and ``z_a + z_b``."""
    of_test = NormalDist().inv_cdf(1 - significance / 2)
    return of_test, of_test + NormalDist().inv_cdf(power)
