from __future__ import annotations

import math

import pytest
from evaluation.evaluation_rows import AB, random_rows, row, rows_of

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.modality_gain import additions, modality_gains

QUICK = Bootstrap(resamples=100)
ABC = ("A", "B", "C")


def gains_of(rows, modalities, **more):
    values = pool(rows, modalities=modalities, convention=more.pop("convention", None))
    found = modality_gains(values, bootstrap=QUICK, **more)
    return {(each.model, each.region, each.modality, each.present): each for each in found}


def test_a_gain_is_the_mean_of_the_cases_own_differences():
    scores = {"A": (0.3, 0.5), "B": (0.2, 0.2), "C": (0.1, 0.1)}
    scores |= {"A+B": (0.5, 0.6), "A+C": (0.6, 0.4), "B+C": (0.4, 0.5), "A+B+C": (0.7, 0.9)}
    found = gains_of(rows_of(scores), ABC)
    gain = {key[2:]: each.gain.mean for key, each in found.items()}
    assert gain["A", "B"] == pytest.approx((0.3 + 0.4) / 2)
    assert gain["A", "C"] == pytest.approx((0.5 + 0.3) / 2)
    assert gain["A", "B+C"] == pytest.approx((0.3 + 0.4) / 2)
    assert gain["A", "1 of 3"] == pytest.approx((0.35 + 0.4) / 2)
    assert gain["A", "2 of 3"] == pytest.approx(0.35)
    assert gain["A", "all"] == pytest.approx((0.35 + 0.4 + 0.35) / 3)
    assert len(found) == 3 * (3 + 2 + 1)
    assert {each.over for each in found.values()} == {"subset", "number present", "all subsets"}


def test_cases_that_lack_one_of_both_scores_are_left_out_and_counted():
    rows = rows_of({"A": (0.3, None, 0.5), "A+B": (0.5, 0.6)})
    each = gains_of(rows, AB, convention=NNUNET)["ours", "ET", "B", "A"]
    assert (each.gain.mean, each.gain.count, each.left_out) == (pytest.approx(0.2), 1, 2)


def test_averages_are_there_only_where_all_subsets_were_scored():
    rows = rows_of({"A": (0.3,), "A+B": (0.5,), "A+B+C": (0.6,)})
    assert {key[2:] for key in gains_of(rows, ABC)} == {("B", "A"), ("C", "A+B"), ("C", "2 of 3")}


def test_groups_average_regions_and_patients_count_once():
    rows = [
        row(dice, case=f"c{case}", subset=subset, region=region)
        for subset, level in (("A", 0.2), ("A+B", 0.5))
        for region, shift in (("WT", 0.1), ("ET", -0.1))
        for case, dice in enumerate([level, level + shift * (subset == "A+B"), level])
    ]
    groups = {"mean": ("WT", "ET")}
    each = gains_of(rows, AB, regions=groups, patients={"c0": "p", "c1": "p", "c2": "p"})["ours", "mean", "B", "A"]
    assert each.gain.mean == pytest.approx(0.3)
    assert each.gain.count == 3
    assert math.isnan(each.gain.low)


def test_one_modality_has_nothing_to_gain_from():
    assert gains_of([row(0.5)], ("A",)) == {}


def test_names_with_special_characters_are_told_apart_from_averages():
    names = ("all", "T1+C")
    found = gains_of(random_rows(modalities=names, regions=("ET",)), names)
    assert {key[2:] for key in found} == {
        (modality, present)
        for modality, other in (("\\all", "T1\\+C"), ("T1\\+C", "\\all"))
        for present in (other, "1 of 2", "all")
    }


def test_a_modality_is_added_to_what_lacks_it():
    assert additions([(0,), (1,), (0, 1), (2,)], 1) == [(0,)]
