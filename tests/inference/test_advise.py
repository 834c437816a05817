"""What to expect is what was measured with the same weights, or nothing."""

from __future__ import annotations

from math import nan

import pytest

from nnunet_missingmod.evaluation.intervals import Interval
from nnunet_missingmod.evaluation.model_card import FILE_NAME, Advice, make_card, write_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.advise import ExpectedAccuracy, conclusion
from nnunet_missingmod.inference.model_folder import open_model_folder

DICE = {"T1": 0.5, "T2": 0.6, "T1+T2": 0.8}


@pytest.fixture
def folder(make_tiny_dataset, make_model):
    return make_model(make_tiny_dataset(("T1", "T2"), num_cases=1), "nnUNetTrainer", folds=(0, 1))


def put_card(folder, weights, modalities=("T1", "T2"), **more):
    rows = [
        ScoreRow(
            "m", "0", f"case{copy}{case}", subset, subset.count("+") + 1, "WT", dice + 0.02 * case, 1, 1, 1, 9, 9, 30
        )
        for subset, dice in DICE.items()
        for case in (-1, 0, 1)
        for copy in "ab"  # from six patients on there are intervals
    ]
    card = make_card(rows, modalities=modalities, provenance={"weights": weights, "cases": "validation cases", **more})
    write_card(card, folder / FILE_NAME)


def test_the_measured_dice_of_what_is_present(folder):
    model = open_model_folder(folder)
    put_card(folder, model.fold_fingerprints)
    accuracy = ExpectedAccuracy.of_model(model)
    assert accuracy.text(["T2", "T1"]) == "T1+T2: expected Dice WT 80.0 (78.3 to 81.7)"
    content = accuracy.as_json(["T2"])
    assert content["subset"] == "T2"
    assert content["regions"]["WT"]["mean"] == pytest.approx(0.6)
    assert content["regions"]["WT"]["count"] == 6
    assert content["confidence"] == 0.95
    assert content["measured_on"] == {"cases": 6, "which": "validation cases"}


def test_some_of_the_folds_that_were_measured_are_enough(folder):
    put_card(folder, open_model_folder(folder).fold_fingerprints)
    assert ExpectedAccuracy.of_model(open_model_folder(folder, folds=[1])) is not None


def test_without_a_card_nothing_is_expected(folder, caplog):
    assert ExpectedAccuracy.of_model(open_model_folder(folder)) is None
    assert caplog.text == ""


@pytest.mark.parametrize("weights", [{}, {"0": "other", "1": "weights"}, ["a"], "a", None])
def test_a_card_of_other_weights_is_not_believed(folder, weights, caplog):
    put_card(folder, weights)
    assert ExpectedAccuracy.of_model(open_model_folder(folder)) is None
    assert "evaluate the model again" in caplog.text


def test_a_card_of_one_fold_says_nothing_of_another(folder, caplog):
    model = open_model_folder(folder)
    put_card(folder, {"0": model.fold_fingerprints["0"]})
    assert ExpectedAccuracy.of_model(model) is None
    assert ExpectedAccuracy.of_model(open_model_folder(folder, folds=[0])) is not None


def test_a_torn_card_is_reported_and_costs_nothing(folder, caplog):
    (folder / FILE_NAME).write_text("{")
    assert ExpectedAccuracy.of_model(open_model_folder(folder)) is None
    assert "cannot be read" in caplog.text


def test_a_card_that_is_a_folder_is_reported_and_costs_nothing(folder, caplog):
    (folder / FILE_NAME).mkdir()
    assert ExpectedAccuracy.of_model(open_model_folder(folder)) is None
    assert "is a folder, not a model card" in caplog.text


def test_no_modality_has_no_expectation(folder):
    model = open_model_folder(folder)
    put_card(folder, model.fold_fingerprints)
    with pytest.raises(ValueError, match="present"):
        ExpectedAccuracy.of_model(model).text([])


def gain(modality, mean, low=nan, high=nan):
    return Advice(modality, Interval(mean, low, high, 12))


@pytest.mark.parametrize(
    ("advice", "expected"),
    [
        ([gain("T1", 0.2, 0.1, 0.3), gain("T2", 0.05, 0.0, 0.09)], "T1 would gain most."),
        (
            [gain("T1", 0.2, 0.1, 0.3), gain("T2", 0.15, 0.05, 0.25), gain("FLAIR", 0.0, -0.1, 0.05)],
            "T1 would gain most on average; T2 may gain as much.",
        ),
        ([gain("T1", 0.2, 0.1, 0.3), gain("T2", 0.1)], "T1 would gain most on average; T2 may gain as much."),
        (
            [gain("T1", 0.2, 0.1, 0.3), gain("T2", nan)],
            "T1 would gain most. What T2 would gain was not measured: no case has it together with these.",
        ),
        (
            [gain("T1", -0.04, -0.1, 0.0), gain("T2", nan), gain("FLAIR", nan)],
            "No further modality that was measured gains anything on average. What T2, FLAIR would gain was not "
            "measured: no case has it together with these.",
        ),
        (
            [gain("T2", nan)],
            "What a further modality gains was not measured: no case of the evaluation has one together with these.",
        ),
    ],
)
def test_the_conclusion_says_no_more_than_what_was_measured(advice, expected):
    assert conclusion(advice) == expected


def test_what_is_made_otherwise_than_what_was_measured_is_said(folder):
    model = open_model_folder(folder)
    window = {"tile_step_size": 0.5, "mirroring": True}
    put_card(folder, model.fold_fingerprints)
    assert ExpectedAccuracy.of_model(model, window=window).made_otherwise is None  # a card that does not know
    put_card(folder, model.fold_fingerprints, predicted={"folds_together": [2], **window})
    assert ExpectedAccuracy.of_model(model).made_otherwise is None
    same = ExpectedAccuracy.of_model(model, window=window)
    assert same.as_json(["T1"])["made_otherwise"] is None
    one = open_model_folder(folder, folds=[0])
    other = ExpectedAccuracy.of_model(one, window={"tile_step_size": 1.0, "mirroring": False})
    assert other.as_json(["T1"])["made_otherwise"] == (
        "measured on predictions by 2 folds together, here by 1, with a step of 0.5, here of 1, "
        "with mirroring, here without"
    )
    assert other.text(["T1"]).endswith("with mirroring, here without)")
    put_card(folder, model.fold_fingerprints, predicted={"folds_together": [1], **window})
    said = ExpectedAccuracy.of_model(model, window=window).text(["T1"])
    assert said.endswith("(measured on predictions by one fold each, here by 2)")
