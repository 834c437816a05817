from __future__ import annotations

import json
import math
from statistics import fmean

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, rows_of

from nnunet_missingmod.evaluation.conventions import NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.model_card import make_card
from nnunet_missingmod.modalities import all_subsets, subset_name

QUICK = Bootstrap(resamples=200)


@pytest.fixture(scope="module")
def rows():
    return random_rows(cases=9, regions=("WT", "TC", "ET"))


@pytest.fixture(scope="module")
def card(rows):
    return make_card(rows, modalities=BRATS_NAMES, bootstrap=QUICK, provenance={"command": "evaluate"})


def dice_of(rows, subset, region):
    """Return the Dice of every case in order."""
    return [each.dice for each in sorted(rows, key=lambda r: r.case) if (each.subset, each.region) == (subset, region)]


def test_expected_accuracy_is_the_mean_over_cases_with_its_interval(card, rows):
    for subset in all_subsets(4):
        name = subset_name(subset, BRATS_NAMES)
        found = card.expected(subset)
        assert found.subset == name
        of_region = {region: dice_of(rows, name, region) for region in ("WT", "TC", "ET")}
        assert list(found.regions) == list(of_region)
        for region, values in of_region.items():
            assert found.regions[region] == QUICK.interval(np.array(values)[:, None])
            assert found.regions[region].mean == pytest.approx(fmean(values))
        assert found.mean.mean == pytest.approx(fmean(map(fmean, of_region.values())))
        assert found.mean == QUICK.interval(np.array(list(of_region.values())).T)


def test_a_gain_is_the_mean_of_paired_differences_with_their_interval(card, rows):
    for advice in card.advise(["FLAIR", "T2"]):
        larger = {"T1": "FLAIR+T1+T2", "T1ce": "FLAIR+T1ce+T2"}[advice.modality]
        paired = np.array(
            [
                np.subtract(dice_of(rows, larger, region), dice_of(rows, "FLAIR+T2", region))
                for region in ("WT", "TC", "ET")
            ]
        ).T
        assert advice.gain == QUICK.interval(paired)
        assert advice.gain.mean == pytest.approx(
            card.expected(larger.split("+")).mean.mean - card.expected((0, 3)).mean.mean
        )


def test_the_interval_of_a_gain_is_narrower_than_unpaired_cases_would_have_it(card):
    """Cases differ by forty points and gain five each: who ignores the pairing sees nothing."""
    gain = card.advise(["T1"])[0].gain
    expected = card.expected(["T1"]).mean
    assert gain.high - gain.low < 0.5 * (expected.high - expected.low)
    assert gain.low > 0


def test_advice_is_sorted_by_gain_and_names_every_absent_modality():
    scores = {"A": (0.3, 0.3), "B": (0.2, 0.2), "C": (0.5, 0.5), "A+B": (0.5, 0.6), "A+C": (0.9, 0.9)}
    scores |= {"B+C": (0.4, 0.4), "A+B+C": (0.95, 0.95)}
    card = make_card(rows_of(scores), modalities=("A", "B", "C"), bootstrap=QUICK)
    advice = card.advise(["A"])
    assert [each.modality for each in advice] == ["C", "B"]
    assert [each.gain.mean for each in advice] == pytest.approx([0.6, 0.25])
    assert [each.gain.mean for each in card.advise(["C"])] == pytest.approx([0.4, -0.1])
    assert [each.modality for each in card.advise(["B", "C"])] == ["A"]
    assert card.advise(["C", "A", "B"]) == []


def test_modalities_are_named_in_any_order_and_any_case_of_letters(card):
    assert card.expected(["t1CE", "flair"]) == card.expected((0, 2)) == card.expected(["FLAIR", "T1ce", "FLAIR"])


def test_names_that_differ_in_the_case_of_letters_alone_are_told_apart():
    card = make_card(rows_of({"t1": (0.2,), "T1": (0.6,), "t1+T1": (0.8,)}), modalities=("t1", "T1"), bootstrap=QUICK)
    assert card.expected(["t1"]).mean.mean == pytest.approx(0.2)
    assert card.expected(["T1"]).mean.mean == pytest.approx(0.6)


def test_unknown_modalities_and_none_at_all_are_refused(card):
    for ask in (card.expected, card.advise):
        with pytest.raises(ValueError, match="no modality 'DWI'; it has FLAIR, T1, T1ce, T2"):
            ask(["FLAIR", "DWI"])
        with pytest.raises(ValueError, match="no modality 4"):
            ask((0, 4))
        with pytest.raises(ValueError, match="one or more modalities"):
            ask([])


def test_only_regions_that_count_are_in_the_card(rows):
    card = make_card(rows, modalities=BRATS_NAMES, regions=["ET"], bootstrap=QUICK)
    assert list(card.expected((0,)).regions) == ["ET"]
    assert card.expected((0,)).mean == card.expected((0,)).regions["ET"]


def test_cases_under_several_folds_count_once():
    once = rows_of({"A": (0.2, 0.6)})
    twice = rows_of({"A": (0.4, 0.8)}, fold="1")
    found = make_card(once + twice, modalities=AB, bootstrap=QUICK).expected((0,))
    assert found.mean.mean == pytest.approx(0.5)
    assert found.mean.count == 2


def test_subsets_that_were_not_scored_are_undefined_and_come_last():
    card = make_card(rows_of({"A": (0.2, 0.6), "A+B": (0.5, 0.7)}), modalities=("A", "B", "C"), bootstrap=QUICK)
    assert math.isnan(card.expected(["C"]).mean.mean)
    assert card.expected(["C"]).mean.count == 0
    advice = card.advise(["A"])
    assert [each.modality for each in advice] == ["B", "C"]
    assert math.isnan(advice[1].gain.mean)
    other = make_card(rows_of({"A": (0.2, 0.6), "A+C": (0.5, 0.7)}), modalities=("A", "B", "C"), bootstrap=QUICK)
    assert [each.modality for each in other.advise(["A"])] == ["C", "B"]
    assert card.expected(["C"]).as_json()["mean"] == {"mean": None, "low": None, "high": None, "count": 0}


def test_many_modalities_need_every_subset():
    names = tuple(f"m{channel}" for channel in range(20))
    rows = rows_of({"m0": (0.5, 0.6), "m0+m1": (0.6, 0.7)})
    with pytest.raises(ValueError, match="card of 20 modalities needs the scores of every subset: 2 of 1048575"):
        make_card(rows, modalities=names, bootstrap=QUICK)


def test_cases_that_the_convention_leaves_out_leave_the_pairs_too():
    rows = rows_of({"A": (0.5, None, 0.4), "B": (0.3, 0.3, 0.3), "A+B": (0.6, 0.9, 0.7)})
    card = make_card(rows, modalities=AB, bootstrap=QUICK, convention=NNUNET)
    assert card.expected(["A"]).mean.mean == pytest.approx(0.45)
    assert card.advise(["A"])[0].gain.mean == pytest.approx(0.2)
    assert card.advise(["A"])[0].gain.count == 2
    assert card.convention == "nnunet"


def test_what_is_written_beside_a_prediction_is_json(card):
    content = json.loads(json.dumps(card.expected((1, 3)).as_json(), allow_nan=False))
    assert content["subset"] == "T1+T2"
    assert content["regions"]["ET"]["mean"] == card.expected((1, 3)).regions["ET"].mean


def test_the_card_knows_its_cases_and_its_provenance(card):
    assert card.cases == tuple(f"c{case}" for case in range(9))
    assert card.provenance == {
        "bootstrap": {"resamples": 200, "confidence": 0.95, "seed": 0, "patients": 9},
        "command": "evaluate",
    }


def test_a_card_of_several_models_or_of_an_unknown_region_is_refused(rows):
    with pytest.raises(ValueError, match="one model, the rows are of ours, theirs"):
        make_card(random_rows(models=("ours", "theirs")), modalities=BRATS_NAMES)
    with pytest.raises(ValueError, match="'NCR' has no score rows; the regions are WT, TC, ET"):
        make_card(rows, modalities=BRATS_NAMES, regions=["NCR"])
