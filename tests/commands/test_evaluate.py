"""The command from arguments to exit code: what it leaves behind, and what it says of what failed."""

from __future__ import annotations

import errno
import json
import shutil
from math import isnan

import pytest

from nnunet_missingmod.benchmarking import report as module
from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.evaluation.scores import read_scores
from nnunet_missingmod.inference.all_subsets import SubsetPredictor

SUBSETS = ("T1", "T2", "T1+T2")


@pytest.fixture
def tiny(two_fold_dataset):
    return two_fold_dataset


@pytest.fixture
def folder(tiny, make_model):
    return make_model(tiny, "nnUNetTrainerSharedBackbone", folds=(0, 1))


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments), "--device", "cpu", "--disable_tta"])


def contents(folder):
    """Every file of a folder."""
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_two_models_leave_scores_tables_figures_report_and_cards(tiny, folder, make_model, tmp_path, capsys):
    stock = make_model(tiny, "nnUNetTrainer", folds=(0, 1))
    out = tmp_path / "out"
    assert evaluate(f"ours={folder}", stock, "-o", out, "--baseline", "nnUNetTrainer") == 0
    rows = read_scores(out / "scores.csv")
    assert {(row.model, row.case, row.subset, row.region) for row in rows} == {
        (model, case, subset, region)
        for model in ("ours", "nnUNetTrainer")
        for case in tiny.cases
        for subset in SUBSETS
        for region in ("WT", "TC", "ET")
    }
    assert len(rows) == 2 * 4 * 3 * 3
    # Each case is predicted by the fold that was not trained on it.
    assert {(row.case, row.fold) for row in rows} == {
        ("case_000", "1"),
        ("case_001", "1"),
        ("case_002", "0"),
        ("case_003", "0"),
    }
    for name in ("tables/dice_by_subset.tex", "tables/comparisons.csv", "figures/cases.png", "figures/latents.png"):
        assert (out / name).stat().st_size > 0, name
    page = (out / "report.html").read_text()
    assert "validation cases of fold 0, 1, each predicted by the fold that was not trained on it" in page
    for model, place in (("ours", folder), ("nnUNetTrainer", stock)):
        card = read_card(place / FILE_NAME)
        assert card.model == model
        assert card.cases == tuple(tiny.cases)
        of_subset = [row.dice for row in rows if row.model == model and row.subset == "T2" and row.region == "WT"]
        assert card.expected(["T2"]).regions["WT"].mean == pytest.approx(sum(of_subset) / 4)
    said = capsys.readouterr().out
    assert "| WT | ours |" in said
    assert f"Report: {out / 'report.html'}" in said


def test_a_second_run_gives_identical_files_and_predicts_nothing(folder, tmp_path, monkeypatch, numbers_only):
    out = tmp_path / "out"
    assert evaluate(folder, "-o", out) == 0
    first, card = contents(out), (folder / FILE_NAME).read_bytes()

    def predict_again(*_args):
        raise AssertionError("It was predicted again.")

    monkeypatch.setattr(SubsetPredictor, "predict_logits_of_subsets", predict_again)
    assert evaluate(folder, "-o", out) == 0
    assert contents(out) == first
    assert (folder / FILE_NAME).read_bytes() == card


def test_a_run_in_another_folder_gives_identical_numbers(folder, tmp_path, numbers_only):
    assert evaluate(folder, "-o", tmp_path / "one") == 0
    assert evaluate(folder, "-o", tmp_path / "two") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_case_that_fails_is_named_and_the_rest_reported(tiny, folder, tmp_path, capsys, numbers_only):
    file = tiny.image(tiny.cases[1], 1)
    file.write_bytes(file.read_bytes()[:100])
    assert evaluate(folder, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "1 failed:" in error
    assert "nnUNetTrainerSharedBackbone, case case_001: Case 'case_001' refused" in error
    assert {row.case for row in read_scores(tmp_path / "out" / "scores.csv")} == {"case_000", "case_002", "case_003"}
    assert [failure for failure in numbers_only[0]["failures"] if "case_001" in failure]


def test_a_model_that_fails_is_named_and_the_other_reported(tiny, folder, make_model, tmp_path, capsys, numbers_only):
    stock = make_model(tiny, "nnUNetTrainer", folds=(0, 1))
    file = stock / "fold_1" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:1000])
    gone = tmp_path / "gone"
    assert evaluate(f"gone={gone}", folder, stock, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"gone: There is no model folder {gone}." in error
    assert "nnUNetTrainer, fold 1: " in error
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {row.case for row in rows if row.model == "nnUNetTrainerSharedBackbone"} == set(tiny.cases)
    assert {row.case for row in rows if row.model == "nnUNetTrainer"} == set(tiny.cases[2:])


def test_without_any_model_that_can_be_used_it_does_not_start(tmp_path, capsys):
    assert evaluate(tmp_path / "nowhere", f"else={tmp_path / 'elsewhere'}", "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"nowhere: There is no model folder {tmp_path / 'nowhere'}.\n" in error
    assert f"else: There is no model folder {tmp_path / 'elsewhere'}.\n" in error
    assert not (tmp_path / "out").exists()


def test_models_are_given_by_m_too(folder, tmp_path, numbers_only):
    arguments = ("-m", f"ours={folder}", "-o", tmp_path / "out", "--subsets", "T1+T2", "-f", "0")
    assert evaluate(*arguments) == 0
    assert {row.model for row in read_scores(tmp_path / "out" / "scores.csv")} == {"ours"}


def test_a_full_disk_in_the_middle_is_a_failure_and_not_wrong_usage(
    folder, tmp_path, capsys, numbers_only, monkeypatch
):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device", "scores.csv")

    monkeypatch.setattr(module, "write_scores", full)
    assert evaluate(folder, "-o", tmp_path / "out", "-f", "0", "--subsets", "T1+T2") == 1
    error = capsys.readouterr().err
    assert error.endswith("nnunet_missingmod evaluate: [Errno 28] No space left on device: 'scores.csv'\n")


def test_an_output_folder_that_cannot_be_made_is_wrong_usage(folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert evaluate(folder, "-o", tmp_path / "file") == 2
    assert f"Cannot write into {tmp_path / 'file'}" in capsys.readouterr().err


def test_a_test_folder_is_predicted_by_all_folds_and_some_subsets_make_no_card(tiny, folder, tmp_path, numbers_only):
    images, labels = tmp_path / "images", tmp_path / "labels"
    shutil.copytree(tiny.raw / "imagesTr", images)
    shutil.copytree(tiny.raw / "labelsTr", labels)
    for case in tiny.cases[1:]:
        for channel in (0, 1):
            (images / f"{case}_{channel:04d}.nii.gz").unlink()
    assert evaluate(folder, "-i", images, "-ref", labels, "-o", tmp_path / "out", "--subsets", "1") == 0
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {(row.case, row.fold, row.subset) for row in rows} == {("case_000", "0+1", "T1"), ("case_000", "0+1", "T2")}
    assert not (folder / FILE_NAME).exists()


def test_cases_of_one_patient_are_resampled_together(folder, tmp_path, numbers_only):
    assert evaluate(folder, "-o", tmp_path / "one", "--patients", "(case)_") == 0
    assert set(numbers_only[0]["patients"].values()) == {"case"}
    card = json.loads((folder / FILE_NAME).read_text())
    assert card["provenance"]["bootstrap"]["patients"] == 1
    expected = read_card(folder / FILE_NAME).expected(["T2"]).regions["WT"]
    assert isnan(expected.low)
    assert expected.count == 4


def test_models_can_be_named_as_nnunet_names_them(tiny, folder, tmp_path, numbers_only):
    arguments = ("-d", "Dataset901_Tiny", "-c", "3d_fullres", "-tr", "nnUNetTrainerSharedBackbone", "-f", "0")
    assert evaluate(*arguments, "-o", tmp_path / "out", "--subsets", "T2+T1") == 0
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {(row.case, row.subset) for row in rows} == {("case_002", "T1+T2"), ("case_003", "T1+T2")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subsets", "T3"], "'T3' is no modality of T1, T2"),
        (["--least-size", "XY=5"], "no region 'XY', only WT, TC, ET"),
        (["--patients", "(patient)_"], "names no patient in case case_00"),
        (["-ref", "."], "both its images"),
        (["-np", "0"], "-np is 1 or more, got 0"),
        (["-f", "0", "0"], "-f names fold 0 twice"),
        (["--patients", ""], "--patients: it is empty"),
        (["-chk", "../fold_1/checkpoint_final.pth"], "it is the name of a file in each fold's folder"),
        (["-step_size", "1e-9"], "it is at least 0.05 and at most 1"),
        (["--subsets", "T1+T1"], "T1 is named twice"),
        (["-i", "nowhere", "-ref", "."], "There is no folder nowhere"),
    ],
)
def test_wrong_usage_starts_nothing(folder, tmp_path, capsys, arguments, message):
    assert evaluate(folder, "-o", tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_among_the_raw_images_is_wrong_usage(tiny, folder, capsys):
    for place in ("imagesTr", "labelsTr"):
        assert evaluate(folder, "-o", tiny.raw / place / "evaluation") == 2
        assert f"lies in {tiny.raw / place}, which is read" in capsys.readouterr().err
        assert not (tiny.raw / place / "evaluation").exists()


def test_models_of_different_labels_are_wrong_usage(tiny, folder, make_model, tmp_path, capsys):
    other = make_model(tiny, "nnUNetTrainer", folds=(0, 1))
    content = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**content, "labels": {"background": 0, "tumour": 1}}))
    assert evaluate(folder, other, "-o", tmp_path / "out") == 2
    assert "cannot be compared" in capsys.readouterr().err
