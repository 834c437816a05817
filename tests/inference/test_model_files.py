"""Where a model folder is, which folds it has, and what is said of one that is not there."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.inference.model_files import (
    BEST,
    ModelFolderError,
    choose_folds,
    find_model_folder,
    read_model_json,
)


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=1)


def test_it_is_found_as_nnunet_finds_it(tiny, make_model, monkeypatch):
    folder = make_model(tiny, "nnUNetTrainer")
    found = find_model_folder("Dataset901_Tiny", "3d_fullres", "nnUNetTrainer", "nnUNetPlans")
    assert found == folder
    with pytest.raises(ModelFolderError, match="Cannot find dataset 77"):
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


@pytest.mark.parametrize("ending", [None, 5, "", "nii.gz", [".nii.gz"]])
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
