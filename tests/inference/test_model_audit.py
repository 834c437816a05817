"""The audit of model folders: ours and stock ones, of several folds, of one modality, of a cascade, and by files."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, write_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference import predictor as predictor_module
from nnunet_missingmod.inference.model_audit import audit_model_folder
from nnunet_missingmod.inference.model_folder import open_model_folder


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(("T1", "T2"), num_cases=1)


def audited(folder, **more):
    found = audit_model_folder(folder, device="cpu", **more)
    return found, {each.title: each for each in found.findings}


def test_a_stock_model_is_audited_by_its_own_convention(tiny, make_model):
    found, of = audited(make_model(tiny, "nnUNetTrainer", configuration="2d"), images=tiny.raw / "imagesTr")
    assert "zeros in place of absent modalities" in found.subject
    assert "zeros stand in place" in found.convention
    assert (of["content"].result, of["gradient"].result) == ("note", "note")
    assert of["content"].number > 0.01
    assert {of[name].result for name in ("batch", "batch (training)", "state", "none", "order")} == {"pass"}
    assert "evaluate" in of["more"].meaning


def test_every_fold_is_audited_and_the_worst_is_named(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d", folds=(0, 1))
    file = folder / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    firsts = [value for value in checkpoint["network_weights"].values() if value.shape[1:] == (2, 3, 3)]
    assert firsts
    for first in firsts:
        first[:, 1] = 0  # of T2
    torch.save(checkpoint, file)
    of = audited(folder)[1]
    assert of["gradient"].result == "fail"
    assert of["gradient"].meaning.startswith("fold 1: A present modality gets no gradient: T2 in T2, T2 in T1+T2.")
    assert of["content"].result == "pass"
    assert not audited(folder, folds=[0])[0].failed


def test_a_model_of_one_modality_is_asked_for_no_other(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d", modality_subset=["T2"])
    found, of = audited(folder)
    assert not found.failed
    assert of["gradient"].result == "pass"
    assert of["zero"].result == "does not apply"


def test_the_previous_stage_of_a_cascade_is_no_modality(tiny, make_model):
    found, of = audited(make_model(tiny, "nnUNetTrainerModalityDropout", configuration="3d_cascade_fullres"))
    assert not found.failed
    assert of["content"].result == "pass"
    assert "first stage" in of["order"].meaning


def test_files_that_go_by_position_are_found(tiny, make_model, monkeypatch):
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d")
    monkeypatch.setattr(predictor_module, "assign_names", lambda images, _: dict(enumerate(images.values())))
    found, of = audited(folder)
    assert [each.check for each in found.failed] == ["order"]
    assert of["order"].number > 0


def test_without_a_case_of_several_modalities_the_order_cannot_be_told(tiny, make_model, tmp_path):
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d")
    (tmp_path / "images").mkdir()
    assert "no case with files of several" in audited(folder, images=tmp_path / "images")[1]["order"].meaning


def test_a_model_that_was_evaluated_is_audited_too(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d")
    rows = [
        ScoreRow("m", "0", case, subset, 1, "WT", 0.5, *(1, 1, 1, 9, 9, 30))
        for subset in ("T1", "T2", "T1+T2")
        for case in ("a", "b")
    ]
    provenance = {"weights": open_model_folder(folder).fold_fingerprints}
    write_card(make_card(rows, modalities=("T1", "T2"), provenance=provenance), folder / FILE_NAME)
    assert audited(folder)[1]["order"].result == "pass"
