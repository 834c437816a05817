"""From evaluation to prediction: agreement is the same in both, and a card's intervals are given where they hold."""

from __future__ import annotations

import csv
import json
from math import nan

import pytest

from nnunet_missingmod.benchmarking.store import PredictionSettings
from nnunet_missingmod.benchmarking.uncertainty import calibrated, measure
from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.agreement import AgreementRow
from nnunet_missingmod.evaluation.conventions import DIAGONAL, NNUNET
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.evaluation.scores import ScoreRow

CASES = 9


@pytest.fixture
def evaluated(make_tiny_dataset, make_model, tmp_path, numbers_only):
    """A model of two folds, evaluated on nine test cases that both predicted."""
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=CASES, shape=(10, 12, 12))
    folder = make_model(tiny, "nnUNetTrainerSharedBackbone", folds=(0, 1))
    # So that none is a training case.
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
        for file in (tiny.raw / part).iterdir():
            (tmp_path / part / file.name.replace("case", "test")).write_bytes(file.read_bytes())
    assert main(evaluation(folder, tmp_path)) == 0
    return folder


def evaluation(folder, tmp_path):
    arguments = ["-i", str(tmp_path / "imagesTr"), "-ref", str(tmp_path / "labelsTr"), "-o", str(tmp_path / "out")]
    return ["evaluate", str(folder), *arguments, "-device", "cpu", "--disable_tta"]


def written(sidecar):
    return json.loads(sidecar.read_text())["expected_dice"]["this_case"]


def test_what_evaluate_measured_predict_computes_and_gives_an_interval_for(evaluated, tmp_path, numbers_only, capsys):
    card = read_card(evaluated / FILE_NAME)
    assert set(card.uncertainty) == {"folds", "subsets"}
    assert sorted(card.uncertainty["folds"].groups) == [1, 2]
    assert sorted(card.uncertainty["subsets"].groups) == [2]
    of_folds = card.uncertainty["folds"]
    assert (of_folds.folds, of_folds.mirroring, of_folds.groups[1]["WT"].observations) == (2, False, 2 * CASES)
    with (tmp_path / "out" / "agreement.csv").open() as file:
        rows = {(r["case"], r["subset"], r["kind"], r["region"]): float(r["agreement"]) for r in csv.DictReader(file)}
    assert len(rows) == CASES * 3 * (3 + 1)
    (section,) = numbers_only[0]["sections"]
    assert len(section.tables) == 2

    first = (tmp_path / "out" / "agreement.csv").read_bytes()
    assert main(evaluation(evaluated, tmp_path)) == 0
    assert (tmp_path / "out" / "agreement.csv").read_bytes() == first
    assert read_card(evaluated / FILE_NAME) == card

    # In parts, and reported again without a model: from files alone.
    for part in ("0", "1"):
        assert main([*evaluation(evaluated, tmp_path), "-num_parts", "2", "-part_id", part]) == 0
    (evaluated / FILE_NAME).unlink()
    for parts in ("2", "1"):
        (tmp_path / "out" / "agreement.csv").unlink()
        assert main(["evaluate", "-o", str(tmp_path / "out"), "--report", "-num_parts", parts]) == 0
        assert (tmp_path / "out" / "agreement.csv").read_bytes() == first
        assert numbers_only[-1]["sections"] == [section]
        assert read_card(evaluated / FILE_NAME).uncertainty == card.uncertainty

    capsys.readouterr()
    images = [f"{name}={tmp_path / 'imagesTr' / f'test_004_000{c}.nii.gz'}" for c, name in enumerate(("T1", "T2"))]
    predict = ["predict", "-m", str(evaluated), "-device", "cpu", "--disable_tta", "-o", str(tmp_path / "predicted")]
    given = ["--case", "test_004", "--image", images[0], "--image", images[1]]
    assert main([*predict, *given, "--uncertainty"]) == 0
    said = capsys.readouterr().out
    this_case = json.loads((tmp_path / "predicted" / "test_004.missingmod.json").read_text())["expected_dice"][
        "this_case"
    ]
    for kind in ("folds", "subsets"):
        for region in ("WT", "TC", "ET"):
            found = this_case[kind]["regions"][region]
            assert found["agreement"] == pytest.approx(rows["test_004", "T1+T2", kind, region], abs=0.01)
            assert found["confidence"] == 0.9
            assert 0 <= found["low"] <= found["dice"] <= found["high"] <= 1
            assert f"{region} {100 * found['dice']:.1f} ({100 * found['low']:.1f} to {100 * found['high']:.1f})" in said
    assert "This case by its agreement with one modality less (90 % interval): WT" in said

    # What says more than is asked for is kept; what says less is made again. Of one modality none can be left out.
    assert main([*predict, *given, "--continue_prediction"]) == 0
    assert "1 kept" in capsys.readouterr().out
    one = [*predict, "--case", "one", "--image", images[0]]
    assert main(one) == 0
    assert main([*one, "--continue_prediction", "--uncertainty"]) == 0
    assert "1 predicted" in capsys.readouterr().out
    beside = written(tmp_path / "predicted" / "one.missingmod.json")
    assert beside["subsets"] == {"reason": "it has one modality, and none can be left out"}
    assert "regions" in beside["folds"]

    # Other predictions than those that were measured have no intervals, and are not made in vain.
    assert main([*predict, *given, "-f", "0", "--uncertainty"]) == 2
    assert (
        "the card is of predictions by 2 folds, here 1 predicts: predict with as many folds (-f)"
        in capsys.readouterr().err
    )
    other = ["predict", "-m", str(evaluated), "-device", "cpu", "-o", str(tmp_path / "other"), *given]
    assert main(other) == 0
    said = capsys.readouterr().out
    assert "No interval of single cases from the agreement of the folds: the card is of predictions with a step" in said
    assert "This case" not in said


def score(case, subset, dice, *, fold="0", region="WT", voxels=9):
    return ScoreRow("m", fold, case, subset, subset.count("+") + 1, region, dice, 1, 1, 1, voxels, voxels, 30)


def agreed(case, subset, value, *, kind="subsets", fold="0", region="WT"):
    return AgreementRow("m", fold, case, subset, subset.count("+") + 1, region, kind, value)


def test_agreement_meets_the_score_of_the_same_prediction():
    rows = [score("a", "T1+T2", 0.8), score("b", "T1+T2", 0.6, fold="1"), score("b", "T1", 0.5, fold="1")]
    agreement = [agreed("a", "T1+T2", 0.9), agreed("b", "T1+T2", 0.7, fold="1"), agreed("c", "T1+T2", 0.1)]
    found = measure(rows, agreement, convention=DIAGONAL)
    assert list(found) == ["subsets"]
    seen = found["subsets"][2, "WT"].seen
    assert list(zip(seen.agreement, seen.dice, strict=True)) == [(0.9, 0.8), (0.7, 0.6)]


def test_cases_of_one_patient_are_one_and_those_that_may_be_training_cases_are_left_out():
    cases = [f"case{index}" for index in range(6)]
    rows = [score(case, "T1+T2", 0.8) for case in cases]
    agreement = [agreed(case, "T1+T2", 0.9) for case in cases]
    patients = {case: f"p{index // 2}" for index, case in enumerate(cases)}
    found = measure(rows, agreement, convention=DIAGONAL, patients=patients, leave_out=["case5"])
    assert (found["subsets"][2, "WT"].seen.count, len(found["subsets"][2, "WT"].seen)) == (3, 5)


def test_what_empty_masks_score_is_the_conventions():
    rows = [score("a", "T1+T2", nan, voxels=0), score("b", "T1+T2", 0.5)]
    agreement = [agreed("a", "T1+T2", 1.0), agreed("b", "T1+T2", 0.7)]
    assert list(measure(rows, agreement, convention=DIAGONAL)["subsets"][2, "WT"].seen.dice) == [1.0, 0.5]
    assert list(measure(rows, agreement, convention=NNUNET)["subsets"][2, "WT"].seen.dice) == [0.5]


def test_one_modality_or_no_agreement_at_all_calibrates_nothing():
    assert measure([score("a", "T1", 0.5)], [], convention=DIAGONAL) == {}
    assert calibrated({}, (1,), PredictionSettings(), regions=["WT"]) == {}


def test_cases_that_were_predicted_in_several_ways_calibrate_nothing():
    found = measure([score("a", "T1+T2", 0.8)], [agreed("a", "T1+T2", 0.9)], convention=DIAGONAL)
    assert list(calibrated(found, (2,), PredictionSettings(), regions=["WT"])) == ["subsets"]
    assert calibrated(found, (1, 2), PredictionSettings(), regions=["WT"]) == {}
    assert calibrated(found, (), PredictionSettings(), regions=["WT"]) == {}
