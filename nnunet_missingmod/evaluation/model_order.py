"""The order of models: their ranks with intervals, and the probability that the order of two is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor, inf, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.aggregation import CaseValues, Column
from nnunet_missingmod.evaluation.intervals import (
    SHOWN_FROM,
    Bootstrap,
    Interval,
    column_mean,
    linearised,
    patient_numbers,
)
from nnunet_missingmod.evaluation.statistics import without_rounding


@dataclass(frozen=True)
class Rank:
    """The rank of a model among all in one region and column, 1 for the best mean.

    ``rank.low`` and ``rank.high`` are its interval, ``rank.count`` the cases that it rests on: those for which every
    model has a score. ``left_out`` counts the cases (of a subset and a region each) that some models have no score for.
    """

    model: str
    region: str
    subset: str
    mean: float
    rank: Interval
    left_out: int


def ranks(
    values: CaseValues,
    *,
    columns: Sequence[Column],
    bootstrap: Bootstrap,
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[Rank]:
    """Return the rank of every model in every group of regions and column; none if there is one model.

    Models are ranked by their means over the cases for which all of them have a score; equal means share their mean
    rank. The interval holds the ranks that the model has in resamples of the patients, between the expanded percentiles
    of `Bootstrap.interval`, widened to whole ranks. Of models that are equal in truth, resampled ranks vary over the
    places that they share. With fewer than `SHOWN_FROM` patients there is no interval. ``regions`` and ``patients`` are
    as in `compare`.
    """
    if len(values.models) < 2:
        return []
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    owners = values.owners(patients)
    sign = -1.0 if values.metric.higher_is_better else 1.0
    found = []
    for region, members in groups.items():
        cells: list[tuple[Column, NDArray[np.float64], int]] = []
        for column in columns:
            scores = np.stack([values.of(model, members, column.subsets) for model in values.models])
            undefined = np.isnan(scores)
            left_out = int(np.count_nonzero(undefined.any(axis=0) & ~undefined.all(axis=0)))
            cells.append((column, np.where(undefined.any(axis=0), np.nan, scores), left_out))
        arrays = [of_model for _, scores, _ in cells for of_model in scores]
        number_of = dict.fromkeys(range(len(arrays)), 0)
        resampled: dict[int, NDArray[np.float64]] = {}
        for position, number, means in bootstrap.resampled_means(arrays, owners):
            resampled[position], number_of[position] = means, number
        for cell, (column, scores, left_out) in enumerate(cells):
            means_and_counts = [column_mean(of_model) for of_model in scores]
            means = np.array([mean for mean, _ in means_and_counts])
            first = cell * len(values.models)
            places = _places(sign * means) if not np.isnan(means).any() else np.full(len(means), nan)
            has_interval = number_of[first] >= SHOWN_FROM
            if has_interval:
                drawn = np.stack([resampled[first + index] for index in range(len(means))])
                drawn = _places(sign * drawn[:, ~np.isnan(drawn).any(axis=0)])
            for index, (model, (mean, count)) in enumerate(zip(values.models, means_and_counts, strict=True)):
                low = high = nan
                if has_interval:
                    ends = bootstrap.percentiles(drawn[index], number_of[first])
                    low, high = float(floor(ends[0])), float(ceil(ends[1]))
                rank = Interval(float(places[index]), low, high, count)
                found.append(Rank(model, region, column.heading, mean, rank, left_out))
    return found


def _places(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value along the first axis, the least first; equal ones share their mean rank.

    Means that differ by rounding are equal. For a few models this is several times faster than scipy's rankdata.
    """
    values = without_rounding(values)
    less = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    places: NDArray[np.float64] = less + (equal + 1) / 2
    return places


@dataclass(frozen=True)
class Order:
    """Two models in one region and column, the better one first, over the patients for whom both have scores.

    ``difference`` is the mean of better minus other, as tables have it, ``better_sd``, ``other_sd`` and ``correlation``
    describe the patients' scores, and ``chance`` is the `probability_of_wrong_order`. That is undefined where the
    column averages subsets or regions of which one rests on fewer than `SHOWN_FROM` patients, and others on more.
    """

    better: str
    other: str
    region: str
    subset: str
    patients: int
    difference: float
    better_sd: float
    other_sd: float
    correlation: float
    chance: float


def orders(
    values: CaseValues,
    *,
    columns: Sequence[Column],
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[Order]:
    """Return the order of every two models in every group of regions and column, in the order of the models.

    It rests on the cases, subsets and regions for which both models have a score. A patient's score is what the patient
    adds to the mean over subsets and regions of the mean over cases (see `linearised`): where every patient has one
    case with all of them, its own mean. So the order is that of the means also where patients differ in what they have.
    ``regions`` and ``patients`` are as in `compare`.
    """
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    owners = patient_numbers(values.owners(patients))
    sign = 1.0 if values.metric.higher_is_better else -1.0
    found = []
    for first, second in combinations(values.models, 2):
        for region, members in groups.items():
            for column in columns:
                one, two = (values.of(model, members, column.subsets) for model in (first, second))
                both = ~np.isnan(one) & ~np.isnan(two)
                (one, fewest), (two, _) = (linearised(np.where(both, each, np.nan), owners) for each in (one, two))
                pair = [(first, one), (second, two)]
                if sign * (one - two).sum() < 0:
                    pair.reverse()
                found.append(_order(pair[0], pair[1], region, column.heading, fewest=fewest))
    return found


def _order(
    first: tuple[str, NDArray[np.float64]],
    second: tuple[str, NDArray[np.float64]],
    region: str,
    heading: str,
    *,
    fewest: int,
) -> Order:
    (better, one), (other, two) = first, second
    number = len(one)
    if number < 2:
        difference = float((one - two).mean()) if number else nan
        return Order(better, other, region, heading, number, difference, nan, nan, nan, nan)
    one, two = without_rounding(one), without_rounding(two)
    sd_one, sd_two = _spread(one), _spread(two)
    correlation = float(np.corrcoef(one, two)[0, 1]) if sd_one > 0 and sd_two > 0 else nan
    # The spread of the differences themselves: the same as by the correlation, without its rounding.
    paired = without_rounding(one - two)
    difference = float(paired.mean())
    is_sure = fewest == number or fewest >= SHOWN_FROM
    chance = probability_of_wrong_order(number, difference, _spread(paired)) if is_sure else nan
    return Order(better, other, region, heading, number, difference, sd_one, sd_two, correlation, chance)


def _spread(values: NDArray[np.float64]) -> float:
    """Return the standard deviation, which is 0 where all are equal, however their mean is rounded."""
    return float(np.std(values, ddof=1)) if np.ptp(values) else 0.0


def probability_of_wrong_order(patients: int, difference: float, sd: float) -> float:
    """Return the probability, given the scores, that the true mean difference has the other sign than the observed.

    With a flat prior of the mean difference and of the logarithm of its standard deviation, the posterior of the mean
    difference is Student's t of n - 1 degrees of freedom about the observed one, d, scaled by ``sd / sqrt(n)`` (Gelman
    et al., Bayesian Data Analysis, 3rd edition 2013, section 3.2). The probability that it is on the other side of zero
    is ``P = T(-|d| sqrt(n) / sd)``, T the distribution function of that t, which is half of the two-sided p value of
    the paired t test. It is 0.5 if nothing speaks for either order. Christodoulou et al. 2025 (arXiv 2505.04720) report
    this probability for published claims to outperform.

    The more alike two models are, the smaller is sd: ``sd^2 = sd_1^2 + sd_2^2 - 2 r sd_1 sd_2``, with the standard
    deviations of both models' scores and their correlation r over the patients.

    Notes:
        It is about further patients of the same kind, for the models as they were trained; another training may well
        change the order. It is not corrected for the number of orders that are looked at.

    Args:
        patients: n, 2 or more.
        difference: the mean of the paired differences.
        sd: their standard deviation.

    Raises:
        ValueError: there are fewer than two patients, or the standard deviation is negative.
    """
    from scipy.special import stdtr

    if patients < 2 or not sd >= 0:
        raise ValueError(f"An order has two patients or more and a standard deviation from 0, got {patients} and {sd}.")
    if sd == 0:
        return 0.5 if difference == 0 else 0.0
    scaled = abs(difference) * sqrt(patients) / sd
    return float(stdtr(patients - 1, -scaled)) if scaled < inf else 0.0
