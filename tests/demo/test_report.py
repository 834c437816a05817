"""The demo's models are evaluated under every subset, and its table and pictures are made from the scores."""

from __future__ import annotations

import json
import shutil

import pytest

from nnunet_missingmod.benchmarking import predictions as predictions_module
from nnunet_missingmod.demo.host_commands import CommandError
from nnunet_missingmod.demo.report import evaluate_models, write_tables
from nnunet_missingmod.demo.settings import TRAINERS, DemoFolder
from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores, write_scores
from nnunet_missingmod.modalities import all_subsets, subset_name

NAMES = ("FLAIR", "T1", "T1ce", "T2")


@pytest.fixture
def trained(make_tiny_dataset, make_model, tmp_path):
    """A demo whose models were never trained, and whose two test cases are noise."""
    tiny = make_tiny_dataset(NAMES, num_cases=2, shape=(10, 12, 14))
    folder = DemoFolder(tmp_path / "demo")
    for trainer in TRAINERS:
        shutil.copytree(make_model(tiny, trainer), folder.model(trainer))
    shutil.copytree(tiny.raw / "imagesTr", folder.complete_test_images)
    shutil.copytree(tiny.raw / "labelsTr", folder.references)
    shutil.copy(tiny.raw / "dataset.json", folder.dataset)
    return folder


def run(folder):
    return evaluate_models(folder, TRAINERS, device="cpu", jobs=1, command="the command")


def test_both_models_are_evaluated_under_every_subset_into_the_demos_folder(trained):
    rows = run(trained)
    assert rows == read_scores(trained.root / "scores.csv")
    assert len(rows) == 2 * 2 * 15 * 3
    assert list(dict.fromkeys((row.model, row.fold) for row in rows)) == [(name, "0") for name in TRAINERS.values()]
    assert "the command" in (trained.root / "report.html").read_text()
    record = json.loads((trained.root / "predictions" / "modality dropout" / "records" / "case_000.json").read_text())
    assert record["origin"]["settings"]["mirroring"] is False
    write_tables(trained)
    assert (trained.root / "cases.png").read_bytes() == (trained.root / "figures" / "cases.png").read_bytes()


@pytest.mark.usefixtures("numbers_only")
def test_a_second_evaluation_predicts_nothing_again(trained, monkeypatch):
    first = run(trained)

    def refuse(*_args):
        raise AssertionError("a case was predicted again")

    monkeypatch.setattr(predictions_module, "export", refuse)
    assert run(trained) == first


@pytest.mark.usefixtures("numbers_only")
def test_missing_prediction_is_named(trained, monkeypatch):
    export = predictions_module.export

    def failing(logits, properties, model, target, num_threads):
        if model.trainer == "nnUNetTrainerModalityDropout" and target.name == "case_001.nii.gz":
            raise OSError("No space left on device")
        export(logits, properties, model, target, num_threads)

    monkeypatch.setattr(predictions_module, "export", failing)
    with pytest.raises(CommandError, match="1 failed in .*: modality dropout, case case_001: No space left on device"):
        run(trained)


def test_models_that_are_not_there_are_a_failure_of_the_demo(trained):
    shutil.rmtree(trained.root / "nnUNet_results")
    with pytest.raises(CommandError, match="cannot be evaluated"):
        run(trained)


@pytest.fixture
def evaluated(tmp_path):
    """Zero filling predicts nothing, modality dropout everything."""
    folder = DemoFolder(tmp_path)
    folder.dataset.mkdir(parents=True)
    labels = {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
    channel_names = {str(channel): name for channel, name in enumerate(NAMES)}
    dataset_json = {"channel_names": channel_names, "labels": labels, "file_ending": ".nii.gz"}
    (folder.dataset / "dataset.json").write_text(json.dumps(dataset_json))
    rows = [
        ScoreRow(
            model=model,
            fold="0",
            case=case,
            subset=subset_name(subset, NAMES),
            num_present=len(subset),
            region=region,
            dice=right,
            hd95_mm=0.0 if right else float("inf"),
            nsd=right,
            nsd_tolerance_mm=1.0,
            reference_voxels=64,
            predicted_voxels=64 * int(right),
            diagonal_mm=15.0,
        )
        for model, right in zip(TRAINERS.values(), (0.0, 1.0), strict=True)
        for case in ("a", "b")
        for subset in all_subsets(4)
        for region in ("WT", "TC", "ET")
    ]
    write_scores(rows, folder.root / "scores.csv")
    (folder.root / "figures").mkdir()
    (folder.root / "figures" / "cases.png").write_bytes(b"\x89PNG of cases")
    return folder


def test_tables_and_both_figures_are_made_from_the_scores(evaluated):
    shown = write_tables(evaluated)
    assert "100.0" in shown
    text = (evaluated.root / "table.md").read_text()
    assert shown in text
    assert text.splitlines()[0].startswith(
        "| FLAIR | T1 | T1ce | T2 | WT zero fill | WT modality dropout | WT modality"
    )
    assert "| ● | ○ | ○ | ○ | 0.00 | 100.00 | +100.00 |" in text
    for name in ("table.png", "cases.png"):
        assert (evaluated.root / name).read_bytes().startswith(b"\x89PNG")
    assert "FLAIR" in (evaluated.root / "table.csv").read_text()
