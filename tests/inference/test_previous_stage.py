"""The card of a cascade tells of predictions whose previous stage was made as in the evaluation, and of no others."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod import cli
from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, weights_key, write_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.inference.predictor import Predictor

TRAINER = "nnUNetTrainerModalityDropout"


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(("T1", "T2"), num_cases=1)


@pytest.fixture
def lowres(tiny, make_model):
    return make_model(tiny, TRAINER, configuration="3d_lowres", folds=(0, 1), seed=1)


@pytest.fixture
def cascade(tiny, make_model, lowres):
    """The second stage's model, with the card that ``evaluate`` would write of both."""
    folder = make_model(tiny, TRAINER, configuration="3d_cascade_fullres", folds=(0, 1))
    earlier = open_model_folder(lowres).fold_fingerprints
    weights = {weights_key(fold, "3d_lowres"): key for fold, key in earlier.items()}
    put_card(folder, open_model_folder(folder).fold_fingerprints | weights)
    return folder


def put_card(folder, weights):
    rows = [
        ScoreRow("m", "0", "c", subset, subset.count("+") + 1, region, 0.8, 1, 1, 1, 9, 9, 30)
        for subset in ("T1", "T2", "T1+T2")
        for region in ("WT", "TC", "ET")
    ]
    write_card(make_card(rows, modalities=("T1", "T2"), provenance={"weights": weights}), folder / FILE_NAME)


def predict(tiny, model, out, *arguments, names=("T1", "T2")):
    images = [f"--image={name}={tiny.image('case_000', ('T1', 'T2').index(name))}" for name in names]
    given = [*images, "--case", "case_000", "-o", out, "-m", model, "-device", "cpu", "--disable_tta"]
    assert cli.main(["predict", *map(str, given), *map(str, arguments)]) == 0
    return json.loads((out / "predictions.jsonl").read_text().splitlines()[-1])


def test_a_previous_stage_of_the_evaluated_weights_is_what_was_measured(tiny, lowres, cascade, tmp_path):
    for given in ((), ("-f", 1)):  # the mean of the folds or one of them, as of the second stage's own
        predict(tiny, lowres, tmp_path / "first", *given, "--overwrite")
        row = predict(tiny, cascade, tmp_path / "second", "-prev_stage_predictions", tmp_path / "first", "--overwrite")
        assert row["expected_dice"]["mean"]["mean"] == pytest.approx(0.8)
        assert row["unmeasured"] is None


def test_any_other_previous_stage_is_not(tiny, lowres, cascade, make_model, tmp_path, capsys):
    first = tmp_path / "first"

    def second(**choices):
        row = predict(tiny, cascade, tmp_path / "out", "-prev_stage_predictions", first, "--overwrite", **choices)
        assert row["status"] == "predicted"
        assert row["expected_dice"] is None
        said = capsys.readouterr().out
        assert "expected Dice" not in said
        assert f"WARNING: no Dice to expect: {row['unmeasured']}." in said
        return row["unmeasured"]

    predict(tiny, lowres, first)
    capsys.readouterr()
    assert "was made from T1+T2, and the card's Dice with T2 was measured with a" in second(names=("T2",))
    (first / "case_000.nii.gz").write_bytes(tiny.label("case_000").read_bytes())  # corrected by hand, say
    assert f"it is not known which model made {first / 'case_000.nii.gz'}" in second()
    (first / "case_000.missingmod.json").unlink()  # as after nnUNetv2_predict
    assert "make it by nnunet_missingmod predict" in second()
    make_model(tiny, TRAINER, configuration="3d_lowres", folds=(0, 1), seed=2)
    predict(tiny, lowres, first, "--overwrite")
    capsys.readouterr()
    assert "was made by other weights of 3d_lowres than those that the model was evaluated with" in second()


def test_in_python_and_with_a_card_of_the_second_stage_alone(tiny, lowres, cascade, tmp_path):
    predict(tiny, lowres, tmp_path / "first")
    images = {"T1": tiny.image("case_000", 0), "T2": tiny.image("case_000", 1)}
    stage = tmp_path / "first" / "case_000.nii.gz"
    made = Predictor.from_model_folder(cascade, device="cpu", mirroring=False).predict(images, previous_stage=stage)
    assert made.expected_dice is not None
    assert "unmeasured" not in made.report
    put_card(cascade, open_model_folder(cascade).fold_fingerprints)
    made = Predictor.from_model_folder(cascade, device="cpu", mirroring=False).predict(images, previous_stage=stage)
    assert made.expected_dice is None
    assert "is of an earlier version, which does not say by which weights of 3d_lowres" in made.report["unmeasured"]
