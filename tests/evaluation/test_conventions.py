from __future__ import annotations

import math

import pytest
from evaluation.evaluation_rows import row

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import (
    BRATS,
    CONVENTIONS,
    DIAGONAL,
    DICE,
    HD95,
    METRICS,
    NNUNET,
    NSD,
    choose_convention,
)
from nnunet_missingmod.evaluation.model_card import make_card


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
    assert set(CONVENTIONS) == {"brats", "diagonal", "nnunet"}


@pytest.mark.parametrize(
    "regions",
    [("WT", "TC", "ET"), ("et", "RC", "tc", "wt"), ("whole tumor", "tumor core", "enhancing tumor"),
     ("Whole_Tumour", "Tumour_Core", "Enhancing_Tumour")],
)  # fmt: skip
def test_the_convention_of_brats_is_chosen_for_its_regions(regions):
    convention, why = choose_convention("auto", regions)
    assert convention is BRATS
    assert why == "chosen because the regions are those of BraTS"


@pytest.mark.parametrize("regions", [("tumour",), ("liver", "tumor"), ("WT", "ET"), ("ET",), ()])
def test_other_regions_get_their_images_diagonal(regions):
    convention, why = choose_convention("auto", regions)
    assert convention is DIAGONAL
    assert "not those of BraTS" in why
    for one_empty in (row(0.0, predicted=0), row(0.0, reference=0)):
        assert values(convention, one_empty) == [0.0, 250.0, 0.0]
    assert values(convention, row(None)) == [1.0, 0.0, 1.0]


def test_a_convention_that_is_named_is_taken_for_any_regions():
    for name, convention in CONVENTIONS.items():
        assert (
            choose_convention(name, ("WT", "TC", "ET")) == choose_convention(name, ()) == (convention, "as requested")
        )
    with pytest.raises(ValueError, match="no convention 'best', only auto, brats, diagonal, nnunet"):
        choose_convention("best", ())


@pytest.mark.parametrize(("regions", "missed_mm"), [(("WT", "TC", "ET"), 373.13), (("liver", "tumour"), 250.0)])
def test_a_missed_region_scores_by_default_what_suits_the_task(regions, missed_mm):
    rows = [row(0.0, predicted=0, region=region) for region in regions]
    pooled = pool(rows, modalities=("A", "B"), metric=HD95)
    assert pooled.arrays["ours", regions[0]].tolist() == [[missed_mm]]
    assert make_card(rows, modalities=("A", "B")).convention == pooled.convention.name


def test_the_bound_of_hd95_is_the_diagonal_the_penalty_or_a_larger_score():
    assert BRATS.bounds(HD95, diagonal_mm=250.0) == (0.0, 373.13)
    assert BRATS.bounds(HD95, diagonal_mm=400.0) == (0.0, 400.0)
    assert BRATS.bounds(HD95, diagonal_mm=math.nan, largest=600.0) == (0.0, 600.0)
    assert BRATS.bounds(HD95, diagonal_mm=math.nan) == (0.0, 373.13)
    assert DIAGONAL.bounds(HD95, diagonal_mm=250.0, largest=300.0) == (0.0, 300.0)
    # Of images whose size is unknown, no distance is the largest.
    assert DIAGONAL.bounds(HD95, diagonal_mm=math.nan, largest=300.0) == (0.0, math.inf)
    assert BRATS.bounds(DICE, diagonal_mm=250.0, largest=600.0) == (0.0, 1.0)
