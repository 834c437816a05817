"""Ranks, and the probability of the other order: by hand, against scipy's paired t test, and in degenerate cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, rows_of
from scipy.stats import ttest_rel

from nnunet_missingmod.evaluation.aggregation import Column, pool
from nnunet_missingmod.evaluation.conventions import HD95, NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap, column_mean
from nnunet_missingmod.evaluation.model_order import orders, probability_of_wrong_order, ranks

QUICK = Bootstrap(resamples=200)
COLUMNS = [Column("A", ((0,),))]
LEVEL = np.random.default_rng(0).uniform(0.4, 0.6, 12)


def values_of(metric=None, **scores):
    rows = [each for model, of_model in scores.items() for each in rows_of({"A": tuple(of_model)}, model=model)]
    more = {} if metric is None else {"metric": metric}
    return pool(rows, modalities=AB, convention=NNUNET, **more)


def ranked(values, **more):
    return {each.model: each for each in ranks(values, columns=COLUMNS, bootstrap=QUICK, **more)}


def test_ranks_follow_the_means_and_their_intervals_the_resamples():
    noise = np.random.default_rng(1).normal(0, 0.02, 12)
    found = ranked(values_of(low=LEVEL - 0.2, one=LEVEL, two=LEVEL + noise - noise.mean() + 0.001))
    assert {model: each.rank.mean for model, each in found.items()} == {"low": 3, "one": 2, "two": 1}
    assert (found["low"].rank.low, found["low"].rank.high) == (3, 3)
    assert (found["one"].rank.low, found["one"].rank.high) == (1, 2)
    assert found["one"].mean == pytest.approx(LEVEL.mean())


def test_equal_models_share_a_rank_and_lower_distances_are_first():
    assert {each.rank.mean for each in ranked(values_of(one=LEVEL, two=LEVEL)).values()} == {1.5}
    assert ranked(values_of(HD95, one=LEVEL, two=LEVEL + 0.1))["two"].rank.mean == 1


def test_means_that_differ_by_rounding_share_a_rank_and_nothing_speaks_for_an_order():
    one, two = (0.1, 0.2, 0.3), (0.3, 0.2, 0.1)
    assert np.mean(one) != np.mean(two)
    values = values_of(one=one, two=two)
    assert {each.rank.mean for each in ranked(values).values()} == {1.5}
    assert orders(values, columns=COLUMNS)[0].chance == 0.5


def test_constant_scores_have_no_correlation_and_perfect_ones_have_one():
    (constant,) = orders(values_of(one=(0.1,) * 7, two=(0.3,) * 7), columns=COLUMNS)
    assert (constant.better_sd, constant.other_sd) == (0, 0)
    assert math.isnan(constant.correlation)
    assert constant.chance == 0
    (parallel,) = orders(values_of(one=LEVEL, two=LEVEL + 0.1), columns=COLUMNS)
    assert parallel.correlation == pytest.approx(1)
    assert parallel.correlation <= 1


def test_ranks_rest_on_the_cases_that_every_model_has():
    # Without its first case, which the other lacks, the first model is the worse one.
    found = ranked(values_of(one=(1.0, 0.3, 0.3, 0.3), two=(None, 0.4, 0.4, 0.4)))
    assert (found["two"].rank.mean, found["one"].rank.mean) == (1, 2)
    assert (found["one"].rank.count, found["one"].left_out) == (3, 1)


def test_ranks_without_two_patients_or_two_models():
    assert ranked(values_of(one=LEVEL)) == {}
    alone = ranked(values_of(one=(0.5,), two=(0.4,)))["one"]
    assert alone.rank.mean == 1
    assert math.isnan(alone.rank.low)
    undefined = ranked(values_of(one=(None, 0.5), two=(0.4, None)))["one"]
    assert math.isnan(undefined.rank.mean)


def test_the_probability_of_the_other_order_by_hand():
    """Four patients, mean difference 0.02, s = 0.04: t = 1 of 3 degrees of freedom, whose tail is 0.1955."""
    assert probability_of_wrong_order(4, 0.02, 0.04) == pytest.approx(0.195501, abs=1e-6)
    assert probability_of_wrong_order(4, -0.02, 0.04) == pytest.approx(0.195501, abs=1e-6)
    # Two degrees of freedom have a closed form: 1/2 - t / (2 sqrt(2 + t^2)).
    assert probability_of_wrong_order(3, 0.1, 0.1) == pytest.approx(0.5 - 3**0.5 / (2 * 5**0.5))


def test_it_is_half_of_the_p_value_of_the_paired_t_test_and_sd_follows_from_the_correlation():
    other = LEVEL + np.random.default_rng(2).normal(0.01, 0.05, 12)
    (found,) = orders(values_of(one=LEVEL, two=other), columns=COLUMNS)
    assert (found.better, found.other, found.patients) == ("two", "one", 12)
    assert found.chance == pytest.approx(ttest_rel(LEVEL, other).pvalue / 2)
    sd = math.sqrt(found.better_sd**2 + found.other_sd**2 - 2 * found.correlation * found.better_sd * found.other_sd)
    assert found.chance == pytest.approx(probability_of_wrong_order(12, found.difference, sd))


def test_cases_of_one_patient_and_cases_of_one_model_do_not_count_as_more():
    other = LEVEL + np.linspace(-0.01, 0.03, 12)
    (once,) = orders(values_of(one=LEVEL, two=other), columns=COLUMNS)
    twice = values_of(one=np.repeat(LEVEL, 2), two=np.repeat(other, 2))
    (found,) = orders(twice, columns=COLUMNS, patients={f"c{case}": str(case // 2) for case in range(24)})
    assert (found.patients, found.chance) == (12, pytest.approx(once.chance))
    (padded,) = orders(values_of(one=[*LEVEL, 0.9], two=[*other, None]), columns=COLUMNS)
    assert (padded.patients, padded.chance) == (12, pytest.approx(once.chance))


def test_the_order_is_that_of_the_means_where_cases_differ_in_what_they_have():
    """Twelve patients have both subsets, thirty the first alone: the mean of means has other weights than theirs."""
    level = np.random.default_rng(3).uniform(0.4, 0.6, 42)
    noise = np.tile([0.004, -0.004], 21)
    scores = {
        "one": {"A": level, "A+B": [*(level[:12] + 0.05), *[None] * 30]},
        "two": {"A": level + noise + 0.01, "A+B": [*(level[:12] + 0.03), *[None] * 30]},
    }
    rows = [each for model, of_model in scores.items() for each in rows_of(
        {name: tuple(of_subset) for name, of_subset in of_model.items()}, model=model)]  # fmt: skip
    values = pool(rows, modalities=AB, convention=NNUNET)
    column = Column("average", ((0,), (0, 1)))
    (found,) = orders(values, columns=[column])
    means = {model: column_mean(values.of(model, values.regions, column.subsets))[0] for model in scores}
    assert (found.better, found.patients) == ("one", 42)
    assert found.difference == pytest.approx(means["one"] - means["two"]) == pytest.approx(0.005)
    assert 0 < found.chance < 0.5
    # Of a subset that five patients have, others more, nothing is said.
    some = [each for each in rows if each.subset == "A" or int(each.case[1:]) < 5]
    (unsure,) = orders(pool(some, modalities=AB, convention=NNUNET), columns=[column])
    assert (unsure.better, math.isnan(unsure.chance)) == ("one", True)


def test_orders_that_nothing_speaks_for_and_that_nothing_speaks_against():
    (equal,) = orders(values_of(one=LEVEL, two=LEVEL), columns=COLUMNS)
    assert equal.chance == 0.5
    (sure,) = orders(values_of(one=(0.5, 0.5), two=(0.25, 0.25)), columns=COLUMNS)
    assert (sure.better, sure.chance) == ("one", 0.0)
    assert math.isnan(sure.correlation)
    (single,) = orders(values_of(one=(0.5,), two=(0.6,)), columns=COLUMNS)
    assert (single.better, single.patients) == ("two", 1)
    assert math.isnan(single.chance)
    (none,) = orders(values_of(one=(None, 0.5), two=(0.6, None)), columns=COLUMNS)
    assert (none.patients, math.isnan(none.difference)) == (0, True)
    with pytest.raises(ValueError, match="two patients or more.*got 1"):
        probability_of_wrong_order(1, 0.1, 0.1)
