"""Intervals are given only for predictions that are made as the measured ones were; otherwise the reason is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluation_rows import rows_of

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.evaluation.agreement import FOLDS, SUBSETS, CroppedLabels
from nnunet_missingmod.evaluation.agreement_regression import AgreementRegression
from nnunet_missingmod.evaluation.conformal import Calibration
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.model_card import make_card
from nnunet_missingmod.evaluation.uncertainty import CalibratedKind
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.inference.uncertainty import CaseUncertainty, describe, warnings_of

NAMES = ("T1", "T2")
FILES = {"T1": Path("t1.nii.gz"), "T2": Path("t2.nii.gz")}
CALIBRATION = Calibration(20, 20, 0.95, 0.1, AgreementRegression({"T1+T2": (0.6, 0.7)}, (-0.2, 0.2), (-0.3, 0.2)))
FEW = Calibration(4, 4)


def kind(folds=1, *, calibration=CALIBRATION, step=0.5, mirroring=True):
    return CalibratedKind(folds, step, mirroring, {2: {"WT": calibration}})


def card(**kinds):
    rows = rows_of({"T1": (0.5, 0.6), "T2": (0.5, 0.7), "T1+T2": (0.8, 0.7)}, region="WT")
    return make_card(rows, modalities=NAMES, bootstrap=Bootstrap(100), uncertainty=kinds)


@pytest.fixture
def models(make_tiny_dataset, make_model):
    """The same model of one fold and of two."""
    folder = make_model(make_tiny_dataset(NAMES, num_cases=1), "nnUNetTrainerModalityDropout", folds=(0, 1))
    return {1: open_model_folder(folder, folds=[0]), 2: open_model_folder(folder)}


def uncertainty(model, **kinds):
    return CaseUncertainty(card(**kinds), model, tile_step_size=0.5, mirroring=True)


def test_what_was_measured_in_the_same_way_is_used_and_else_the_reason_is_known(models):
    one = uncertainty(models[1], subsets=kind())
    assert (set(one.usable), one.reasons) == ({SUBSETS}, {FOLDS: "one fold predicts"})
    both = uncertainty(models[2], subsets=kind(2), folds=kind(2))
    assert (set(both.usable), both.reasons) == ({FOLDS, SUBSETS}, {})
    test_folder = "evaluate the model on a test folder (-i, -ref), whose cases its folds predict together"
    for model, kinds, reasons in (
        (models[2], {}, {FOLDS: f"knows nothing of the agreement of folds: {test_folder}"}),
        (models[2], {}, {SUBSETS: f"knows nothing of the agreement of subsets: {test_folder}"}),
        (models[1], {}, {SUBSETS: "knows nothing of the agreement of subsets: evaluate it again"}),
        (models[2], {"subsets": kind(1)}, {SUBSETS: f"by 1 fold, here 2 predict: {test_folder}, or predict"}),
        (models[1], {"subsets": kind(5)}, {SUBSETS: "predictions by 5 folds, here 1 predicts"}),
        (models[1], {"subsets": kind(step=0.75)}, {SUBSETS: "a step of 0.75 and with mirroring, here the step is 0.5"}),
        (models[1], {"subsets": kind(mirroring=False)}, {SUBSETS: "a step of 0.5 and without mirroring, here the"}),
        (models[1], {"subsets": kind(calibration=FEW)}, {SUBSETS: "too few patients: an interval of 90 % needs 9"}),
    ):
        found = uncertainty(model, **kinds)
        for each, reason in reasons.items():
            assert each not in found.usable
            assert reason in found.reasons[each]


def test_the_second_stage_of_a_cascade_is_not_compared_with_one_modality_less(make_tiny_dataset, make_model):
    folder = make_model(
        make_tiny_dataset(NAMES, num_cases=1), "nnUNetTrainerModalityDropout", configuration="3d_cascade_fullres"
    )
    found = uncertainty(open_model_folder(folder), subsets=kind())
    assert "the previous stage of the cascade" in found.reasons[SUBSETS]


WHOLE = np.array([[[1, 1, 1, 1, 0, 0, 0, 0]]])
HALF = np.array([[[1, 1, 0, 0, 0, 0, 0, 0]]])


def test_the_interval_follows_from_the_predictions_by_hand(models):
    asked = []

    def segment(images):
        asked.append(set(images))
        return WHOLE if "T1" in images else HALF

    found = uncertainty(models[1], subsets=kind()).of_case(WHOLE, FILES, NAMES, segment=segment)
    assert asked == [{"T2"}, {"T1"}]
    of_region = found["subsets"]["regions"]["WT"]
    # Dice with the half is 2*2/6, with the whole 1: the mean is 5/6, 0.233 above the subset's, beyond what was seen.
    assert of_region["agreement"] == pytest.approx(5 / 6)
    assert (of_region["dice"], of_region["low"], of_region["high"]) == pytest.approx((0.9, 0.8, 1.0))
    assert of_region["outside"] == "above"
    assert describe(found) == (
        "This case by its agreement with one modality less (95 % interval): WT 90.0 (80.0 to 100.0)."
    )
    assert warnings_of(found) == []


def test_less_agreement_than_in_any_evaluated_case_is_a_warning(models):
    found = uncertainty(models[1], subsets=kind()).of_case(WHOLE, FILES, NAMES, segment=lambda _: WHOLE * 0)
    assert found["subsets"]["regions"]["WT"]["outside"] == "below"
    assert found["subsets"]["regions"]["WT"]["dice"] == pytest.approx(0.4)
    assert warnings_of(found) == [
        "WT is agreed on less (0.00) than in any evaluated case, by its agreement with one modality less"
    ]


def test_folds_that_are_there_anyway_are_compared_and_nothing_else_without_being_asked(models):
    of_folds = [CroppedLabels.of(each) for each in (WHOLE, HALF)]
    found = uncertainty(models[2], folds=kind(2)).of_case(WHOLE, FILES, NAMES, of_folds=of_folds)
    assert list(found) == ["folds"]
    assert found["folds"]["regions"]["WT"]["agreement"] == pytest.approx(2 / 3)
    assert describe(found).startswith("This case by the agreement of its folds (95 % interval): WT ")
    assert uncertainty(models[1], subsets=kind()).of_case(WHOLE, FILES, NAMES) == {}
    unknown = uncertainty(models[2]).of_case(WHOLE, FILES, NAMES)
    assert "knows nothing of the agreement of folds" in unknown["folds"]["reason"]
    assert describe(unknown) == ""


def test_what_cannot_be_compared_says_why(models):
    def refuse(images):
        raise CaseRefusedError("case", "the network's output is not finite.")

    subsets = uncertainty(models[1], subsets=kind())
    for images, present, segment, reason in (
        (FILES, ("T1",), refuse, "it has one modality, and none can be left out"),
        ({"T1": Path("rgb.png")}, NAMES, refuse, "its modalities are in one file"),
        (FILES, NAMES, refuse, "without T1, the network's output is not finite."),
    ):
        found = subsets.of_case(WHOLE, images, present, segment=segment)
        assert found == {"subsets": {"reason": reason}}
        assert reason.rstrip(".") in describe(found)
    few = CalibratedKind(1, 0.5, True, {2: {"WT": FEW}, 3: {"WT": CALIBRATION}})
    found = uncertainty(models[1], subsets=few).of_case(WHOLE, FILES, NAMES, segment=lambda _: WHOLE)
    assert found["subsets"]["regions"]["WT"]["agreement"] == 1.0
    assert "WT none, because it was calibrated on 4 patients" in describe(found)
