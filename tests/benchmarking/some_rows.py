"""Scores of five cases of three modalities under every subset."""

from __future__ import annotations

from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import all_subsets, subset_name

TASK = Task(("T1", "T2", "T3"), {"tumour": (1,)}, None, ".nii.gz", (0, 1), "SimpleITKIO")
EVERY = all_subsets(3)


def row(case, subset, dice, *, model="m", reference=10, predicted=10):
    name = subset_name(subset, TASK.modalities)
    return ScoreRow(model, "0", case, name, len(subset), "tumour", dice, 1.0, 0.5, 1.0, reference, predicted, 30.0)


def some_rows(model="m"):
    return [
        row(f"case{index}", subset, 0.1 * index + 0.1 * len(subset) - 0.01 * subset[0], model=model)
        for index in range(5)
        for subset in EVERY
    ]
