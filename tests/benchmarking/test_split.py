"""No case that a model was trained on is scored as a validation case, whatever splits_final.json says now."""

from __future__ import annotations

import json

import pytest
from benchmarking.folds import split

from nnunet_missingmod.benchmarking.cases import test_set as find_test_set
from nnunet_missingmod.benchmarking.cases import validation_sets
from nnunet_missingmod.inference.model_files import FINAL, ModelFolderError
from nnunet_missingmod.training.split import write_split


@pytest.fixture
def tiny(make_tiny_dataset):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=4)
    split(tiny, tiny.cases[2:])
    return tiny


@pytest.fixture
def folder(tiny, make_model):
    """A model whose training left nothing but its checkpoint, as one that was copied without the rest."""
    folder = make_model(tiny, "nnUNetTrainer")
    for file in (folder / "fold_0").iterdir():
        if file.name != FINAL:
            file.unlink()
    return folder


def find(folder):
    (found,) = validation_sets(folder, None, checkpoint_name=FINAL)
    return [case.case for case in found.cases], found.notes


def write_log(folder, name, train, val, *, epochs=True):
    said = f"2026-01-01: This split has {train} training and {val} validation cases.\n"
    (folder / "fold_0" / f"training_log_{name}.txt").write_text(said + ("2026-01-01: Epoch 0\n" if epochs else ""))


def write_summary(folder, *cases):
    place = folder / "fold_0" / "validation"
    place.mkdir(exist_ok=True)
    entries = [{"prediction_file": f"/elsewhere/validation/{case}.nii.gz"} for case in cases]
    (place / "summary.json").write_text(json.dumps({"metric_per_case": entries}))


def test_the_models_own_split_is_used_and_needs_no_splits_final(tiny, folder):
    write_split(folder / "fold_0", tiny.cases[:3], tiny.cases[3:])
    split(tiny, tiny.cases[3:], tiny.cases[:1])
    assert find(folder) == (tiny.cases[3:], ())
    (tiny.preprocessed / "splits_final.json").unlink()
    assert find(folder) == (tiny.cases[3:], ())


def test_cases_that_splits_final_took_from_the_training_since_are_refused_by_name(tiny, folder):
    write_split(folder / "fold_0", tiny.cases[:2], tiny.cases[2:])
    split(tiny, tiny.cases[1:3])
    with pytest.raises(ModelFolderError, match="was trained on case_001, which splits_final.json .* Restore"):
        find(folder)


def test_a_model_without_its_split_is_checked_by_its_finished_validation(tiny, folder):
    write_summary(folder, *tiny.cases[2:])
    assert find(folder) == (tiny.cases[2:], ())
    split(tiny, tiny.cases[1:])
    with pytest.raises(ModelFolderError, match="changed since .* it calls case_001 validation cases, .*no prediction"):
        find(folder)


def test_by_a_validation_that_was_cut_off_as_far_as_that_goes(tiny, folder):
    place = folder / "fold_0" / "validation"
    place.mkdir()
    (place / "case_002.nii.gz").touch()
    (place / "._case_000.nii.gz").touch()
    cases, (note,) = find(folder)
    assert cases == tiny.cases[2:]
    assert "could not be checked" in note
    (place / "case_000.nii.gz").touch()
    with pytest.raises(ModelFolderError, match="it calls case_000 no validation cases, .* has predictions of them"):
        find(folder)


def test_by_the_numbers_in_the_newest_log_of_a_training(tiny, folder):
    write_log(folder, "a", 2, 2)
    write_log(folder, "b", 3, 1, epochs=False)  # a validation, which splits_final.json may have changed before
    _, (note,) = find(folder)
    assert note == (
        "fold_0 has no split.json and no finished validation, and has a log that tells their numbers only: that it was "
        "not trained on its validation cases rests on splits_final.json, and could not be checked."
    )
    split(tiny, tiny.cases[3:])
    with pytest.raises(ModelFolderError, match="2 training and 2 validation cases, and now there are 3 and 1"):
        find(folder)
    write_summary(folder, *tiny.cases[2:])
    with pytest.raises(ModelFolderError, match="2 training and 2 validation cases, and now there are 3 and 1"):
        find(folder)


def test_what_could_not_be_checked_is_said(folder):
    _, (note,) = find(folder)
    assert "fold_0 has no split.json and no finished validation, and has no log that tells how many" in note


def test_a_split_with_a_case_on_both_sides_is_refused(tiny, folder):
    content = [{"train": tiny.cases[:3], "val": tiny.cases[2:]}]
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match="has case_002 as training and as validation cases of fold 0"):
        find(folder)


@pytest.mark.parametrize("content", ["[]]", "{}", "[1]", '[{"train": []}]', '[{"train": "a", "val": "b"}]', "null"])
def test_a_split_file_that_is_none_is_named(tiny, folder, content):
    (tiny.preprocessed / "splits_final.json").write_text(content)
    with pytest.raises(ModelFolderError, match=r"splits_final\.json"):
        find(folder)
    (folder / "fold_0" / "split.json").write_text(content)
    with pytest.raises(ModelFolderError, match=r"split\.json cannot be read .* delete it"):
        find(folder)


def test_test_cases_with_the_names_of_training_cases_are_named(tiny, folder):
    def notes():
        found = find_test_set(folder, None, tiny.raw / "imagesTr", tiny.raw / "labelsTr", checkpoint_name=FINAL)
        assert [case.case for case in found.cases] == tiny.cases
        return found.notes

    (note,) = notes()
    assert note.startswith("Cases with the names of training cases: case_000, case_001. If they are the same patients")
    write_split(folder / "fold_0", tiny.cases[:1], tiny.cases[1:])
    (note,) = notes()
    assert note.startswith("Cases with the names of training cases: case_000. ")
    (folder / "fold_0" / "split.json").unlink()
    (tiny.preprocessed / "splits_final.json").unlink()
    (note,) = notes()
    assert note.startswith("It is not known which cases fold 0 was trained on")


def test_fold_all_was_trained_on_every_case(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer", folds=("all",))
    (folder / "fold_all" / "split.json").unlink(missing_ok=True)
    found = find_test_set(folder, None, tiny.raw / "imagesTr", tiny.raw / "labelsTr", checkpoint_name=FINAL)
    assert "case_000, case_001, case_002, case_003" in found.notes[0]
