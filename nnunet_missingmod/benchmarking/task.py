"""What models must have in common to be compared: modalities, regions, and how label maps are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunet_missingmod.cases.dataset import label_values
from nnunet_missingmod.evaluation.conventions import Region, evaluated_regions, ignore_label
from nnunet_missingmod.modalities import channel_names


@dataclass(frozen=True)
class Task:
    """What models must have in common to be compared: modalities, regions, and how label maps are stored.

    ``labels`` are all values that a label map may hold. ``reader`` is the name of nnU-Net's reader class in the plans,
    in which alone models may differ.
    """

    modalities: tuple[str, ...]
    regions: dict[str, Region]
    ignore_label: int | None
    file_ending: str
    labels: tuple[int, ...]
    reader: str


def task_of(dataset_json: Mapping[str, Any], plans: Mapping[str, Any]) -> Task:
    """Return what a model is evaluated on: WT, TC and ET where its labels are those of BraTS, else its own regions.

    Raises:
        ValueError: channels or labels of dataset.json are none.
        KeyError: plans.json or dataset.json lacks an entry.
    """
    return Task(
        channel_names(dataset_json),
        evaluated_regions(dataset_json),
        ignore_label(dataset_json),
        str(dataset_json["file_ending"]),
        tuple(sorted({0, *label_values(dataset_json)})),
        str(plans["image_reader_writer"]),
    )


def common_task(tasks: Mapping[str, Task]) -> Task:
    """Return what the models, given by name with their tasks, are evaluated on.

    Raises:
        ValueError: they differ in modalities, labels or file ending, so that their scores are not comparable.
    """
    (first, task), *others = tasks.items()
    for name, other in others:
        differences = [
            f"{what} of {first}: {one}; of {name}: {another}"
            for (what, one), another in zip(_in_words(task).items(), _in_words(other).values(), strict=True)
            if one != another
        ]
        if differences:
            raise ValueError(
                f"{first} and {name} cannot be compared. {'. '.join(differences)}. Evaluate them one by one."
            )
    return task


def _in_words(task: Task) -> dict[str, str]:
    regions = (f"{name} ({'+'.join(map(str, labels))})" for name, labels in task.regions.items())
    return {
        "Modalities": ", ".join(task.modalities),
        "Regions": ", ".join(regions),
        "Label values": ", ".join(map(str, task.labels)),
        "Ignored label": "none" if task.ignore_label is None else str(task.ignore_label),
        "File ending": task.file_ending,
    }
