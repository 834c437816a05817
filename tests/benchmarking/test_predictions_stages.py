"""A cascade is evaluated with its first stage, which sees the same subset."""

from __future__ import annotations

import argparse

import pytest
import SimpleITK as sitk

from nnunet_missingmod.benchmarking.evaluate import evaluate
from nnunet_missingmod.benchmarking.request import request_of
from nnunet_missingmod.commands.evaluate import add_arguments
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.evaluation.scores import read_scores
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.inference.predictor import Predictor


def run(folder, output):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = [str(folder), "-o", str(output), "--device", "cpu", "--disable_tta"]
    return evaluate(request_of(parser.parse_args(arguments), "the command"))


def test_a_cascade_without_its_first_stage_is_named(two_fold_dataset, make_model, tmp_path, numbers_only):
    folder = make_model(two_fold_dataset, "nnUNetTrainer", configuration="3d_cascade_fullres", folds=(0,))
    with pytest.raises(
        UsageError, match="needs the predictions of 3d_lowres, and there is no model of it in"
    ) as raised:
        run(folder, tmp_path / "out")
    assert "nnUNetv2_train Dataset901_Tiny 3d_lowres 0 -tr nnUNetTrainer -p nnUNetPlans" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_cascade_goes_on_from_its_first_stage_under_the_same_subset(
    two_fold_dataset, make_model, tmp_path, numbers_only
):
    tiny = two_fold_dataset
    lowres = make_model(tiny, "nnUNetTrainer", configuration="3d_lowres", folds=(0,), seed=1)
    folder = make_model(tiny, "nnUNetTrainer", configuration="3d_cascade_fullres", folds=(0,))
    outcome = run(folder, tmp_path / "out")
    assert outcome.failures == []
    assert {row.subset for row in read_scores(tmp_path / "out" / "scores.csv")} == {"T1", "T2", "T1+T2"}
    first = tmp_path / "out" / "predictions_of_previous_stages" / "nnUNetTrainer" / "3d_lowres"
    predictor = Predictor.from_model_folder(folder, device="cpu", mirroring=False)
    case = tiny.cases[2]
    alone = predictor.predict({"T2": tiny.image(case, 1)}, previous_stage=first / "T2" / f"{case}.nii.gz")
    written = tmp_path / "out" / "predictions" / "nnUNetTrainer" / "T2" / f"{case}.nii.gz"
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(written))) != alone.array).sum() <= 3
    fingerprints = {"0": open_model_folder(folder), "0, 3d_lowres": open_model_folder(lowres)}
    assert read_card(folder / FILE_NAME).provenance["weights"] == {
        key: model.fold_fingerprints["0"] for key, model in fingerprints.items()
    }


def test_a_first_stage_that_lacks_the_fold_is_named(two_fold_dataset, make_model, tmp_path, numbers_only):
    make_model(two_fold_dataset, "nnUNetTrainer", configuration="3d_lowres", folds=(1,))
    folder = make_model(two_fold_dataset, "nnUNetTrainer", configuration="3d_cascade_fullres", folds=(0,))
    with pytest.raises(UsageError, match=r"needs the predictions of 3d_lowres\. Model") as raised:
        run(folder, tmp_path / "out")
    assert "no checkpoint_final.pth of fold 0; it has 1" in str(raised.value)


def test_other_weights_of_the_first_stage_make_other_predictions(two_fold_dataset, make_model, tmp_path, numbers_only):
    tiny = two_fold_dataset
    folder = make_model(tiny, "nnUNetTrainer", configuration="3d_cascade_fullres", folds=(0,))
    written = tmp_path / "out" / "predictions" / "nnUNetTrainer" / "T1+T2" / f"{tiny.cases[2]}.nii.gz"
    contents = []
    for seed in (1, 2):
        make_model(tiny, "nnUNetTrainer", configuration="3d_lowres", folds=(0,), seed=seed)
        assert run(folder, tmp_path / "out").failures == []
        contents.append(written.read_bytes())
    assert contents[0] != contents[1]


def test_a_first_stage_of_some_modalities_leaves_out_what_it_cannot_predict(
    two_fold_dataset, make_model, tmp_path, numbers_only, capsys
):
    tiny, trainer = two_fold_dataset, "nnUNetTrainerModalityDropout"
    make_model(tiny, trainer, configuration="3d_lowres", folds=(0,), modality_subset=["T1"])
    folder = make_model(tiny, trainer, configuration="3d_cascade_fullres", folds=(0,))
    outcome = run(folder, tmp_path / "out")
    assert outcome.failures == []
    assert {row.subset for row in read_scores(tmp_path / "out" / "scores.csv")} == {"T1", "T1+T2"}
