"""Models get names that tell them apart, and are compared only where that means something."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.benchmarking.request import common_task, name_models

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
    task = common_task({"a": DATASET, "b": DATASET})
    assert task.modalities == ("T1", "T2")
    assert task.regions == {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    assert task.ignore_label is None
    organs = {**DATASET, "labels": {"background": 0, "liver": 1, "ignore": 2}}
    assert common_task({"a": organs}).regions == {"liver": (1,)}
    assert common_task({"a": organs}).ignore_label == 2


@pytest.mark.parametrize(
    "change",
    [
        {"channel_names": {"0": "T2", "1": "T1"}},
        {"labels": {"background": 0, "tumour": 1}},
        {"file_ending": ".mha"},
    ],
)
def test_models_of_different_tasks_are_refused(change):
    with pytest.raises(ValueError, match="a and b cannot be compared"):
        common_task({"a": DATASET, "b": {**DATASET, **change}})
