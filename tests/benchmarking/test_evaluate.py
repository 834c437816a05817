"""An evaluation that was cut off ends as if it had not been, and a model that was trained again is predicted again."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
import torch

from nnunet_missingmod.benchmarking import predictions as predictions_module
from nnunet_missingmod.benchmarking.evaluate import evaluate
from nnunet_missingmod.benchmarking.request import request_of
from nnunet_missingmod.commands.evaluate import add_arguments
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.scores import read_scores


@pytest.fixture
def folder(two_fold_dataset, make_model):
    return make_model(two_fold_dataset, "nnUNetTrainerSharedBackbone", folds=(0, 1))


def request(folder, output, *more):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = [str(folder), "-o", str(output), "--device", "cpu", "--disable_tta", *more]
    return request_of(parser.parse_args(arguments), "the command")


def counted_exports(monkeypatch, *, stop_after=None):
    """Count what is written; with ``stop_after``, be interrupted as by Ctrl-C before one more is."""
    made = []
    export = predictions_module.export

    def counting(logits, properties, model, target, num_threads):
        if len(made) == stop_after:
            raise KeyboardInterrupt
        made.append(target)
        export(logits, properties, model, target, num_threads)

    monkeypatch.setattr(predictions_module, "export", counting)
    return made


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(folder, tmp_path, numbers_only, monkeypatch):
    evaluate(request(folder, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        counted_exports(patch, stop_after=4)
        with pytest.raises(KeyboardInterrupt):
            evaluate(request(folder, tmp_path / "cut"))
    made = counted_exports(monkeypatch)
    outcome = evaluate(request(folder, tmp_path / "cut"))
    assert outcome.failures == []
    assert len(made) == 4 * 3 - 3  # the first case was complete
    assert (tmp_path / "cut" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()


def test_a_model_trained_again_is_predicted_again_where_its_weights_changed(
    folder, tmp_path, numbers_only, monkeypatch
):
    evaluate(request(folder, tmp_path / "out"))
    before = read_scores(tmp_path / "out" / "scores.csv")
    file = folder / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["network_weights"] = {
        name: value + 0.3 * torch.randn_like(value) for name, value in checkpoint["network_weights"].items()
    }
    torch.save(checkpoint, file)
    made = counted_exports(monkeypatch)
    evaluate(request(folder, tmp_path / "out"))
    assert {target.name for target in made} == {"case_000.nii.gz", "case_001.nii.gz"}
    after = read_scores(tmp_path / "out" / "scores.csv")
    assert [row for row in after if row.fold == "0"] == [row for row in before if row.fold == "0"]
    assert [row for row in after if row.fold == "1"] != [row for row in before if row.fold == "1"]


def test_a_damaged_prediction_is_made_again(folder, tmp_path, numbers_only, monkeypatch):
    evaluate(request(folder, tmp_path / "out"))
    scores = (tmp_path / "out" / "scores.csv").read_bytes()
    file = tmp_path / "out" / "predictions" / "nnUNetTrainerSharedBackbone" / "T1+T2" / "case_003.nii.gz"
    file.write_bytes(file.read_bytes()[:-20])
    made = counted_exports(monkeypatch)
    evaluate(request(folder, tmp_path / "out"))
    assert made == [file]
    assert (tmp_path / "out" / "scores.csv").read_bytes() == scores


def test_further_subsets_are_added_to_those_that_are_there(folder, tmp_path, numbers_only, monkeypatch):
    evaluate(request(folder, tmp_path / "out", "--subsets", "T2"))
    assert {row.subset for row in read_scores(tmp_path / "out" / "scores.csv")} == {"T2"}
    made = counted_exports(monkeypatch)
    evaluate(request(folder, tmp_path / "out"))
    assert {target.parent.name for target in made} == {"T1", "T1+T2"}
    assert {row.subset for row in read_scores(tmp_path / "out" / "scores.csv")} == {"T1", "T2", "T1+T2"}


def test_an_incomplete_case_is_evaluated_on_the_subsets_it_has(two_fold_dataset, folder, tmp_path, numbers_only):
    two_fold_dataset.image("case_002", 0).unlink()
    outcome = evaluate(request(folder, tmp_path / "out"))
    assert outcome.failures == []
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {row.subset for row in rows if row.case == "case_002"} == {"T2"}
    assert {row.subset for row in rows if row.case == "case_003"} == {"T1", "T2", "T1+T2"}
    again = evaluate(request(folder, tmp_path / "out"))
    assert again == outcome


def test_an_export_that_fails_costs_its_case_only(folder, tmp_path, numbers_only, monkeypatch):
    export = predictions_module.export

    def failing(logits, properties, model, target, num_threads):
        if target.name == "case_000.nii.gz":
            raise OSError("No space left on device")
        export(logits, properties, model, target, num_threads)

    monkeypatch.setattr(predictions_module, "export", failing)
    outcome = evaluate(request(folder, tmp_path / "out"))
    assert outcome.failures == ["nnUNetTrainerSharedBackbone, case case_000: No space left on device"]
    assert {row.case for row in read_scores(tmp_path / "out" / "scores.csv")} == {"case_001", "case_002", "case_003"}


def test_an_unknown_subset_is_wrong_usage(folder, tmp_path):
    with pytest.raises(UsageError, match="'T9'"):
        evaluate(replace(request(folder, tmp_path / "out"), subset_words=("T9",)))
