"""Models are compared only where that means something."""

from __future__ import annotations

import pytest

from nnunet_missingmod.benchmarking.task import common_task, task_of

PLANS = {"image_reader_writer": "SimpleITKIO"}
DATASET = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "NCR": 1, "ED": 2, "ET": 3},
    "file_ending": ".nii.gz",
}


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
