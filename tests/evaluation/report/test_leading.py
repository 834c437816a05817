"""Who leads a cell, and who cannot be told from it, on score rows whose order is known."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest
from evaluation.evaluation_rows import AB, random_rows, row, rows_of
from evaluation.page_reports import make_tables

from nnunet_missingmod.evaluation.conventions import DICE, HD95, NNUNET
from nnunet_missingmod.evaluation.intervals import Interval
from nnunet_missingmod.evaluation.report.leading import AHEAD, LEADS, NEAR, further_pairs, is_behind, leads
from nnunet_missingmod.evaluation.statistics import Comparison

A = frozenset({(0,)})
ALL = frozenset({(0,), (1,), (0, 1)})


def scored(level, model, cases=12):
    """Rows of a model in every subset; where its mean is higher than another's, it is in every case."""
    scores = [level * (1 + case / 1000) for case in range(cases)]
    return rows_of({subset: scores for subset in ("A", "B", "A+B")}, model=model)


def comparison(mean, low, high, *, p_holm=0.001, rank_sum=1.0):
    return Comparison("a", "b", "ET", "A", Interval(mean, low, high, 9), 9, 0, 0, rank_sum, p_holm, p_holm)


def test_a_model_is_behind_if_interval_test_and_ranks_say_so():
    assert is_behind(comparison(0.1, 0.05, 0.2), DICE)
    assert not is_behind(comparison(0.1, -0.01, 0.2), DICE)
    assert not is_behind(comparison(0.1, 0.05, 0.2, p_holm=0.05), DICE)
    assert not is_behind(comparison(0.1, 0.05, 0.2, rank_sum=-1.0), DICE)
    assert not is_behind(comparison(0.1, nan, nan), DICE)
    assert not is_behind(comparison(nan, nan, nan, p_holm=nan), DICE)


def test_of_a_distance_the_lower_one_leads():
    assert is_behind(comparison(-3.0, -5.0, -1.0, rank_sum=-1.0), HD95)
    assert not is_behind(comparison(3.0, 1.0, 5.0), HD95)


def test_models_are_marked_in_the_order_of_their_means():
    ours = scored(0.6, "ours")
    waves = [(0.05, -0.06)[case % 2] * (1 + case / 100) for case in range(12)]
    near = [replace(each, model="near", dice=each.dice + waves[int(each.case[1:])]) for each in ours]
    both = make_tables([*scored(0.5, "theirs"), *ours, *scored(0.1, "last"), *near])
    lead = both.leads["ET", A]
    assert lead.models == ("ours", "near", "theirs", "last")
    assert [lead.mark(model) for model in lead.models] == [LEADS, NEAR, "", ""]
    assert lead.mark("unheard of") == ""
    assert lead.gaps["theirs"].difference.mean == pytest.approx(0.1 * 1.0055)
    columns = (*both.by_subset.columns, *both.by_count.columns)
    assert set(both.leads) == {("ET", frozenset(column.subsets)) for column in columns}


def test_a_model_that_is_better_on_the_cases_of_both_is_marked_though_its_mean_is_of_harder_ones():
    hard = [replace(each, case=f"hard{each.case}") for each in scored(0.2, "ours")]
    both = make_tables([*scored(0.6, "ours"), *hard, *scored(0.5, "theirs")])
    lead = both.leads["ET", A]
    assert lead.models == ("theirs", "ours")
    assert [lead.mark(model) for model in lead.models] == [LEADS, AHEAD]


def test_the_comparison_of_a_pair_is_turned_if_the_baseline_leads():
    rows = [*scored(0.6, "theirs"), *scored(0.5, "ours")]
    both = make_tables(rows)
    (given,) = (each for each in both.by_subset.comparisons if frozenset(each.subsets) == A)
    gap = both.leads["ET", A].gaps["ours"]
    assert (gap.model, gap.baseline) == ("theirs", "ours")
    assert gap.difference == Interval(-given.difference.mean, -given.difference.high, -given.difference.low, 12)
    assert (gap.wins, gap.losses, gap.rank_sum) == (given.losses, given.wins, -given.rank_sum)
    assert gap.p_holm == given.p_holm


def test_the_marks_are_those_of_the_comparisons():
    both = make_tables(random_rows(models=("ours", "theirs"), modalities=AB, cases=30))
    stars = {frozenset(each.subsets): each for each in both.comparisons if each.region == "ET"}
    for subsets, each in stars.items():
        lead = both.leads["ET", subsets]
        is_clear = each.p_holm < 0.05 and (each.difference.low > 0) == (each.difference.high > 0)
        assert lead.mark(lead.models[1]) == ("" if is_clear else NEAR)
    assert {lead.mark(lead.models[1]) for lead in both.leads.values()} == {"", NEAR}


def test_equal_means_lead_together():
    both = make_tables([*scored(0.5, "ours"), *scored(0.5, "theirs"), *scored(0.4, "last")])
    lead = both.leads["ET", ALL]
    assert [lead.mark(model) for model in ("ours", "theirs", "last")] == [LEADS, LEADS, ""]


@pytest.mark.parametrize("cases", [1, 3, 5])
def test_few_patients_tell_no_models_apart(cases):
    both = make_tables([*scored(0.9, "ours", cases), *scored(0.1, "theirs", cases)])
    assert both.leads["ET", ALL].mark("theirs") == NEAR


def test_a_model_alone_has_no_mark_and_one_without_score_no_place():
    rows = scored(0.5, "ours")
    assert make_tables(rows, pairs=()).leads["ET", A].mark("ours") == ""
    unscored = [row(None, model="theirs", case=each.case, subset=each.subset) for each in rows]
    lead = make_tables([*rows, *unscored], convention=NNUNET).leads["ET", A]
    assert lead.models == ("ours",)
    assert lead.mark("ours") == lead.mark("theirs") == ""
    nobody = make_tables([*unscored, *(replace(each, model="ours") for each in unscored)], convention=NNUNET)
    assert nobody.leads["ET", A].models == ()


def test_only_pairs_with_a_leading_model_are_compared_further():
    rows = [*scored(0.6, "a"), *scored(0.5, "b"), *scored(0.4, "c")]
    both = make_tables(rows, pairs=())
    tables = (both.by_subset, both.by_count)
    assert further_pairs(tables, []) == [("a", "b"), ("a", "c")]
    assert further_pairs(tables, [("b", "a"), ("c", "b")]) == [("a", "c")]
    with pytest.raises(ValueError, match="'a' leads in ET and was not compared with 'b'"):
        leads(tables, [])
