from __future__ import annotations

import math

import pytest
from evaluation.evaluation_rows import row

from nnunet_missingmod.evaluation.conventions import BRATS, CONVENTIONS, DICE, HD95, METRICS, NNUNET, NSD


def values(convention, of_row):
    return [convention.value(of_row, metric) for metric in (DICE, HD95, NSD)]


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=list(CONVENTIONS))
def test_masks_that_are_not_empty_keep_their_measurements(convention):
    assert values(convention, row(0.7, hd95_mm=4.0, nsd=0.3)) == [0.7, 4.0, 0.3]


def test_brats_rewards_two_empty_masks_and_punishes_one():
    assert values(BRATS, row(None)) == [1.0, 0.0, 1.0]
    for one_empty in (row(0.0, predicted=0), row(0.0, reference=0)):
        assert values(BRATS, one_empty) == [0.0, 373.13, 0.0]


def test_nnunet_leaves_two_empty_masks_out_and_one_scores_zero():
    assert all(map(math.isnan, values(NNUNET, row(None))))
    for one_empty in (row(0.0, predicted=0), row(0.0, reference=0)):
        assert values(NNUNET, one_empty) == [0.0, 250.0, 0.0]


def test_conventions_say_what_they_do():
    assert BRATS.text(DICE) == "100 % where prediction and reference are empty, 0 % where one of them is"
    assert "0 mm where" in BRATS.text(HD95)
    assert "373.13 mm" in BRATS.text(HD95)
    assert "left out" in NNUNET.text(NSD)
    assert "diagonal" in NNUNET.text(HD95)


def test_names_are_those_of_the_score_columns():
    assert {name: metric.name for name, metric in METRICS.items()} == {n: n for n in ("dice", "hd95_mm", "nsd")}
    assert [metric.heading for metric in METRICS.values()] == ["Dice (%)", "HD95 (mm)", "NSD (%)"]
    assert [metric.higher_is_better for metric in METRICS.values()] == [True, False, True]
    assert set(CONVENTIONS) == {"brats", "nnunet"}
