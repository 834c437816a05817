from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, row, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_missingmod.evaluation.aggregation import Column, count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import HD95, NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.statistics import compare, holm, paired_wilcoxon, signed_rank_sum

QUICK = Bootstrap(resamples=200)


def ranks_by_loops(values):
    """Return 1 + how many are smaller + half of how many others are equal."""
    return [
        1 + sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def p_by_all_signs(differences):
    """Return how often random signs give a rank sum that is as extreme, over all 2^n signs; zeros keep their ranks."""
    ranks = ranks_by_loops([abs(value) for value in differences])
    kept = [rank for rank, value in zip(ranks, differences, strict=True) if value]
    observed = sum(rank * np.sign(value) for rank, value in zip(ranks, differences, strict=True))
    sums = [
        sum(sign * rank for sign, rank in zip(signs, kept, strict=True)) for signs in product((1, -1), repeat=len(kept))
    ]
    return sum(abs(each) >= abs(observed) - 1e-9 for each in sums) / len(sums)


@given(st.lists(st.integers(-6, 6), min_size=2, max_size=8).filter(any))
@settings(deadline=None, max_examples=40)
def test_p_of_few_patients_is_exact_with_ties_and_zeros_too(differences):
    values = np.array(differences, float)
    assert paired_wilcoxon(values) == pytest.approx(p_by_all_signs(differences), abs=1e-9)
    ranks = ranks_by_loops(np.abs(values))
    assert signed_rank_sum(values) == pytest.approx(float(np.sum(np.sign(values) * ranks)))


def test_p_of_many_patients_nears_the_exact_one():
    rng = np.random.default_rng(0)
    values = rng.normal(0.4, 1.0, 16)
    assert paired_wilcoxon(values) == pytest.approx(p_by_all_signs(values), abs=1e-9)
    with_zeros = np.concatenate([values, np.zeros(2)])
    assert paired_wilcoxon(with_zeros) == pytest.approx(p_by_all_signs(with_zeros), abs=0.03)


def test_all_wins_of_six_patients_are_as_unlikely_as_six_heads_or_six_tails():
    assert paired_wilcoxon(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx(2 / 2**6)


def test_rounding_counts_as_no_difference_and_no_difference_as_no_evidence():
    assert paired_wilcoxon(np.array([0.0, 1e-12, -1e-13])) == 1.0
    assert math.isnan(paired_wilcoxon(np.array([])))


@pytest.mark.parametrize("number", [8, 20, 60])
def test_equal_differences_tie_whatever_the_subtraction_leaves_of_them(number):
    # Of scores with one decimal: 0.3 - 0.2 is not 0.2 - 0.1 in double precision.
    better = np.array([0.2 + 0.1 * (index % 7) for index in range(number)])
    other = better - 0.1
    other[0] = better[0] + 0.1
    exact = np.array([-0.1] + [0.1] * (number - 1))
    assert len(set(np.abs(better - other))) > 1
    assert paired_wilcoxon(better - other) == paired_wilcoxon(exact)
    assert signed_rank_sum(better - other) == signed_rank_sum(exact) == (number - 2) * (number + 1) / 2
    if number == 8:
        assert paired_wilcoxon(exact) == pytest.approx(p_by_all_signs(exact)) == pytest.approx(18 / 256)


def holm_by_the_book(p_values):
    """Reject the smallest at level / m, the next at level / (m - 1), and so on; return the least level that rejects."""

    def rejected(level, index):
        for step, at in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[at] > level / (len(p_values) - step):
                return False
            if at == index:
                return True
        raise AssertionError

    levels = sorted({min(1.0, p * k) for p in p_values for k in range(1, len(p_values) + 1)})
    return [next((level for level in levels if rejected(level * (1 + 1e-12), i)), 1.0) for i in range(len(p_values))]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=6))
@settings(deadline=None)
def test_holm_equals_its_definition_as_a_sequence_of_tests(p_values):
    assert holm(p_values) == pytest.approx(holm_by_the_book(p_values))


def test_holm_of_a_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_undefined_p_values_are_not_counted_as_tests():
    found = holm([0.02, math.nan, 0.04])
    assert found[0] == pytest.approx(0.04)
    assert found[2] == pytest.approx(0.04)
    assert math.isnan(found[1])
    assert holm([]) == []


def test_difference_wins_and_tests_are_of_the_paired_cases():
    ours = rows_of({"A": (0.9, 0.5, 0.7, 0.4), "B": (0.5,) * 4, "A+B": (0.5,) * 4})
    theirs = rows_of({"A": (0.8, 0.5, 0.5, 0.5), "B": (0.5,) * 4, "A+B": (0.5,) * 4}, model="theirs")
    values = pool(ours + theirs, modalities=AB)
    of_a, of_b, _, average = compare(
        values, model="ours", baseline="theirs", columns=subset_columns(AB), bootstrap=QUICK
    )
    assert (of_a.wins, of_a.ties, of_a.losses) == (2, 1, 1)
    assert of_a.difference.mean == pytest.approx(0.05)
    assert of_a.difference.count == 4
    assert of_a.p == pytest.approx(p_by_all_signs([0.1, 0.0, 0.2, -0.1]))
    assert of_a.p_holm == pytest.approx(min(1.0, 3 * of_a.p))
    assert of_b.p == of_b.p_holm == 1.0
    assert average.difference.mean == pytest.approx(0.05 / 3)
    assert average.p_holm == average.p


def test_the_interval_of_a_difference_is_that_of_the_paired_differences():
    rows = random_rows(models=("ours", "theirs"), cases=12, regions=("ET",))
    values = pool(rows, modalities=BRATS_NAMES)
    first = compare(values, model="ours", baseline="theirs", columns=subset_columns(BRATS_NAMES), bootstrap=QUICK)[0]
    paired = values.arrays["ours", "ET"][:, :1] - values.arrays["theirs", "ET"][:, :1]
    assert first.difference == QUICK.interval(paired)
    unpaired = QUICK.interval(values.arrays["ours", "ET"][:, :1])
    # Cases differ more than models do: pairing is what makes the difference visible.
    assert first.difference.high - first.difference.low < 0.5 * (unpaired.high - unpaired.low)


def test_lower_is_better_for_distances():
    rows = [row(0.5, case=f"c{i}", hd95_mm=2.0) for i in range(5)]
    rows += [row(0.5, case=f"c{i}", hd95_mm=5.0, model="theirs") for i in range(5)]
    values = pool(rows, modalities=AB, metric=HD95)
    (found, _) = compare(
        values, model="ours", baseline="theirs", columns=subset_columns(AB, scored=[(0,)]), bootstrap=QUICK
    )
    assert (found.wins, found.ties, found.losses) == (5, 0, 0)
    assert found.difference.mean == -3.0


def test_the_family_of_tests_is_subsets_times_regions_and_averages_stand_apart():
    rows = random_rows(models=("ours", "theirs"), cases=8)
    values = pool(rows, modalities=BRATS_NAMES)
    groups = {"WT": ("WT",), "ET": ("ET",), "mean": ("WT", "ET")}
    common = {"model": "ours", "baseline": "theirs", "bootstrap": QUICK, "regions": groups}
    found = compare(values, columns=subset_columns(BRATS_NAMES), **common)
    families = {
        (one_region, one_subset): [
            each
            for each in found
            if (each.region != "mean") == one_region and (each.heading != "average") == one_subset
        ]
        for one_region in (True, False)
        for one_subset in (True, False)
    }
    assert [len(family) for family in families.values()] == [30, 2, 15, 1]
    for family in families.values():
        assert [each.p_holm for each in family] == pytest.approx(holm([each.p for each in family]))


def test_a_patient_is_one_observation_however_many_cases_it_has():
    ours = rows_of({"A": (0.9, 0.9, 0.9, 0.2)})
    theirs = rows_of({"A": (0.5, 0.5, 0.5, 0.5)}, model="theirs")
    patients = {"c0": "p", "c1": "p", "c2": "p", "c3": "q"}
    common = {"model": "ours", "baseline": "theirs", "bootstrap": QUICK, "columns": subset_columns(AB, scored=[(0,)])}
    found = compare(pool(ours + theirs, modalities=AB), patients=patients, **common)[0]
    assert (found.wins, found.ties, found.losses) == (1, 0, 1)
    assert found.p == pytest.approx(p_by_all_signs([0.4, -0.3]))
    assert found.difference.mean == pytest.approx((3 * 0.4 - 0.3) / 4)


def test_a_pair_without_common_cases_is_undefined():
    ours, theirs = rows_of({"A": (None, 0.5)}), rows_of({"A": (0.5, None)}, model="theirs")
    values = pool(ours + theirs, modalities=AB, convention=NNUNET)
    found = compare(values, model="ours", baseline="theirs", columns=subset_columns(AB), bootstrap=QUICK)
    assert all(math.isnan(each.p) and math.isnan(each.p_holm) for each in found)
    assert all(each.wins == each.ties == each.losses == 0 for each in found)


def test_an_average_of_which_a_model_lacks_a_subset_is_not_tested():
    """A model of modality A alone, beside one of both: B and the average over subsets have no difference."""
    dice = tuple(0.5 + 0.01 * case for case in range(12))
    ours = rows_of({"A": dice, "A+B": dice})
    theirs = rows_of({"A": tuple(each + 0.1 for each in dice), "B": dice, "A+B": dice}, model="theirs")
    values = pool(ours + theirs, modalities=AB)
    columns = [*subset_columns(AB), Column("all", ((0,), (1,), (0, 1)))]
    found = {
        each.heading: each
        for each in compare(values, model="ours", baseline="theirs", columns=columns, bootstrap=QUICK)
    }
    assert found["A"].p < 0.01
    for heading in ("B", "all"):
        assert math.isnan(found[heading].difference.mean)
        assert math.isnan(found[heading].p)
        assert math.isnan(found[heading].p_holm)
    assert found["A"].tests == 2  # A and A+B


def test_a_model_without_rows_is_refused():
    values = pool(rows_of({"A": (0.5,)}), modalities=AB)
    with pytest.raises(ValueError, match="'other' has no score rows; the models are ours"):
        compare(values, model="ours", baseline="other", columns=count_columns(AB), bootstrap=QUICK)
