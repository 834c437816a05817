"""Where a model folder is, which folds it has, and what is said of one that is not there."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.inference.model_files import (
    BEST,
    ModelFolderError,
    check_dataset_is_the_trainings,
    choose_folds,
    find_model_folder,
    read_model_json,
)
from nnunet_missingmod.inference.model_folder import open_model_folder


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=1)


def test_it_is_found_as_nnunet_finds_it(tiny, make_model, monkeypatch):
    folder = make_model(tiny, "nnUNetTrainer")
    found = find_model_folder("Dataset901_Tiny", "3d_fullres", "nnUNetTrainer", "nnUNetPlans")
    assert found == folder
    with pytest.raises(ModelFolderError, match=r"(?s)Cannot find the model of dataset 77.* or its zip, by -m"):
        find_model_folder(77, "3d_fullres", "nnUNetTrainer", "nnUNetPlans")


def test_folds_are_those_asked_for_or_all_numbered_ones(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer", folds=(0, 10, 2, "all"))
    assert choose_folds(folder, None) == (0, 2, 10)
    assert choose_folds(folder, ["all"]) == ("all",)
    assert choose_folds(folder, [10, 0]) == (10, 0)
    with pytest.raises(ModelFolderError, match=r"no checkpoint_final\.pth of fold 3; it has 0, 2, 10, all"):
        choose_folds(folder, [3])
    with pytest.raises(ModelFolderError, match=r"No fold of .* has checkpoint_best\.pth"):
        choose_folds(folder, None, BEST)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_folder_of_other_checkpoints_says_how_they_are_named(tmp_path, ending):
    (tmp_path / "fold_0").mkdir()
    with pytest.raises(ModelFolderError, match=r"has checkpoint_final\.pth: train one to its end .*, or continue a"):
        choose_folds(tmp_path, None)
    with pytest.raises(ModelFolderError, match=r"of fold 0; it has none\."):
        choose_folds(tmp_path, [0])
    for name in ("latest", "best"):
        (tmp_path / f"fold_0/checkpoint_{name}.{ending}").touch()
    there = r"it has checkpoint_best\.pth and checkpoint_latest\.pth \(-chk checkpoint_best\.pth\)"
    with pytest.raises(ModelFolderError, match=rf"No fold of .* has checkpoint_final\.pth: {there}, or continue a"):
        choose_folds(tmp_path, None)
    with pytest.raises(ModelFolderError, match=rf"has no checkpoint_final\.pth of fold 0; {there}\."):
        choose_folds(tmp_path, [0])
    assert choose_folds(tmp_path, None, BEST) == (0,)


def test_a_file_that_cannot_be_read_is_named_with_the_fix(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer")
    assert read_model_json(folder, "dataset.json") == tiny.dataset_json
    (folder / "plans.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"plans\.json cannot be read .*not one of its folds"):
        read_model_json(folder, "plans.json")


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
@pytest.mark.parametrize(("content", "reason"), [("[" * 100_000, "nested too deeply"), ("[]", "not an object")])
def test_json_that_is_nested_too_deeply_or_no_object_is_refused(tiny, make_model, name, content, reason):
    folder = make_model(tiny, "nnUNetTrainer")
    (folder / name).write_text(content)
    with pytest.raises(ModelFolderError, match=rf"not a model folder of nnU-Net: {name} cannot be read \(.*{reason}"):
        read_model_json(folder, name)


@pytest.mark.parametrize("ending", [None, 5, "", "nii.gz", [".nii.gz"], "./../../x.nii.gz"])
def test_a_file_ending_that_is_none_is_refused_and_names_the_file(tiny, make_model, ending):
    folder = make_model(tiny, "nnUNetTrainer")
    (folder / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "file_ending": ending}))
    with pytest.raises(ModelFolderError, match=r"dataset\.json.*file_ending"):
        read_model_json(folder, "dataset.json")


@pytest.mark.parametrize("labels", [None, [], {"background": 0, "tumour": "one"}, {"0": "background", "1": "tumour"}])
def test_labels_that_are_none_are_refused_and_the_file_is_named(tiny, make_model, labels):
    folder = make_model(tiny, "nnUNetTrainer")
    (folder / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "labels": labels}))
    with pytest.raises(ModelFolderError, match=rf"{folder}/dataset\.json: .*labels"):
        read_model_json(folder, "dataset.json")


TRAINED_ON = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "oedema": 1, "tumour": 2},
    "file_ending": ".nii.gz",
}
REGIONS = {
    **{"labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, "regions_class_order": [1, 2]},
    **{"channel_names": {"0": "T1"}, "file_ending": ".nii.gz"},
}


@pytest.mark.parametrize(
    ("trained_on", "edit", "said"),
    [
        (TRAINED_ON, {"channel_names": {"0": "T2", "1": "T1"}}, "channels 0: T2, 1: T1, in the training 0: T1, 1: T2"),
        (
            TRAINED_ON,
            {"labels": {"background": 0, "oedema": 2, "tumour": 1}},
            "labels background: 0, tumour: 1, oedema: 2, in the training background: 0, oedema: 1, tumour: 2",
        ),
        (TRAINED_ON, {"file_ending": ".nrrd"}, r"file_ending \.nrrd, in the training \.nii\.gz"),
        (REGIONS, {"regions_class_order": [2, 1]}, "regions_class_order 2, 1, in the training 1, 2"),
        (
            REGIONS,
            {"labels": {"background": 0, "core": [2], "whole": [1, 2], "ignore": 3}},
            r"labels background: 0, core: 2, whole: 1\+2, .*, in the training background: 0, whole: 1\+2",
        ),
    ],
)
def test_a_dataset_json_that_was_edited_after_the_training_is_refused_in_words(tmp_path, trained_on, edit, said):
    with pytest.raises(ModelFolderError, match=rf"dataset\.json is not that of the training.*: {said}"):
        check_dataset_is_the_trainings(tmp_path, {**trained_on, **edit}, trained_on)


def test_a_dataset_json_that_is_only_written_otherwise_is_that_of_the_training(tmp_path):
    written = {
        "modality": {"1": "T2", "0": "T1"},
        "labels": {"tumour": [2], "background": "0", "oedema": 1.0},
        "numTraining": 7,
        "regions_class_order": None,
        "file_ending": ".nii.gz",
    }
    check_dataset_is_the_trainings(tmp_path, written, TRAINED_ON)
    check_dataset_is_the_trainings(tmp_path, {**REGIONS, "regions_class_order": [1.0, 2]}, REGIONS)
    for nothing in (None, "dataset.json", {}, {"labels": 3}):
        check_dataset_is_the_trainings(tmp_path, TRAINED_ON, nothing)


def test_an_edited_dataset_json_is_refused_when_the_model_is_opened(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer")
    names = dict(zip("0123", ("T1", "FLAIR", "T1ce", "T2"), strict=True))
    (folder / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "channel_names": names}))
    with pytest.raises(ModelFolderError, match="channels 0: T1, 1: FLAIR, .*in the training 0: FLAIR, 1: T1,"):
        open_model_folder(folder)
