"""Models get names that tell them apart, and are compared only where that means something."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.benchmarking.request import common_task, name_models, task_of

PLANS = {"image_reader_writer": "SimpleITKIO"}
DATASET = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "NCR": 1, "ED": 2, "ET": 3},
    "file_ending": ".nii.gz",
}


def test_a_model_is_called_by_its_trainer():
    named = name_models([Path("r/nnUNetTrainerMedMAP__nnUNetPlans__2d"), "r/nnUNetTrainer__nnUNetPlans__2d"], None)
    assert [model.name for model in named] == ["nnUNetTrainerMedMAP", "nnUNetTrainer"]
    assert named[0].folder == Path("r/nnUNetTrainerMedMAP__nnUNetPlans__2d")
    assert named[0].folds is None


def test_by_its_folder_where_the_trainer_is_another_ones_too():
    named = name_models(["r/A__nnUNetPlans__2d", "r/A__nnUNetPlans__3d_fullres", "r/B__nnUNetPlans__2d"], [0, 1])
    assert [model.name for model in named] == ["A__nnUNetPlans__2d", "A__nnUNetPlans__3d_fullres", "B"]
    assert named[0].folds == (0, 1)


def test_by_the_name_before_the_equals_sign(tmp_path):
    named = name_models(["ours=r/A__P__2d", f"{tmp_path}/x=y/A__P__2d"], None)
    assert [(model.name, str(model.folder)) for model in named] == [
        ("ours", "r/A__P__2d"),
        ("A__P__2d", f"{tmp_path}/x=y/A__P__2d"),
    ]


def test_one_name_for_two_models_is_refused():
    with pytest.raises(ValueError, match=r"called 'A__P__2d'.*A=FOLDER"):
        name_models(["one/A__P__2d", "two/A__P__2d"], None)


def test_regions_are_those_of_brats_where_the_labels_are():
    task = common_task({"a": task_of(DATASET, PLANS), "b": task_of(DATASET, PLANS)})
    assert task.modalities == ("T1", "T2")
    assert task.regions == {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    assert task.ignore_label is None
    assert task.labels == (0, 1, 2, 3)
    organs = {**DATASET, "labels": {"background": 0, "liver": 1, "ignore": 2}}
    assert task_of(organs, PLANS).regions == {"liver": (1,)}
    assert task_of(organs, PLANS).ignore_label == 2
    assert task_of(organs, PLANS).labels == (0, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_names": {"0": "T2", "1": "T1"}}, "Modalities of a: T1, T2; of b: T2, T1."),
        (
            {"labels": {"background": 0, "tumour": 1}},
            "Regions of a: WT (1+2+3), TC (1+3), ET (3); of b: tumour (1). Label values of a: 0, 1, 2, 3; of b: 0, 1.",
        ),
        ({"file_ending": ".mha"}, "File ending of a: .nii.gz; of b: .mha."),
    ],
)
def test_models_of_different_tasks_are_refused_with_the_difference_in_words(change, message):
    tasks = {"a": task_of(DATASET, PLANS), "b": task_of({**DATASET, **change}, PLANS)}
    with pytest.raises(ValueError, match="Evaluate them one by one") as raised:
        common_task(tasks)
    assert str(raised.value) == f"a and b cannot be compared. {message} Evaluate them one by one."


def test_models_may_differ_in_the_reader_of_their_plans():
    other = task_of(DATASET, {"image_reader_writer": "NibabelIO"})
    assert common_task({"a": task_of(DATASET, PLANS), "b": other}).reader == "SimpleITKIO"


@pytest.mark.parametrize(
    "name", ["..", ".", "", ".hidden", "a\\b", "a\nb", "a\u200bb", "\udcff", "x" * 201, "\u00e9" * 101]
)
def test_a_name_that_cannot_be_a_folders_is_refused(name):
    with pytest.raises(ValueError, match=r"^The model name .* give another, as in A=FOLDER"):
        name_models([f"{name}=M"], None)


@pytest.mark.parametrize("name", ["/", "a/b", "../x"])
def test_a_name_with_a_slash_before_a_folder_is_refused_and_not_taken_for_a_path(tmp_path, name):
    with pytest.raises(ValueError, match="holds a slash|starts with a dot"):
        name_models([f"{name}={tmp_path}"], None)


def test_a_folder_without_a_name_that_can_be_used_needs_one():
    with pytest.raises(ValueError, match="is empty"):
        name_models(["/"], None)
    assert name_models(["root=/"], None)[0].name == "root"


@pytest.mark.parametrize("other", ["OURS", "ours", "\ufb03x"])
def test_names_that_a_disk_does_not_tell_apart_are_refused(other):
    first = "ffix" if other.startswith("\ufb03") else "ours"
    with pytest.raises(ValueError, match="Two models are called"):
        name_models([f"{first}=M", f"{other}=N"], None)
