"""Which models an evaluation compares, under which names, and whether they can be compared at all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_missingmod.evaluation.regions import Region, brats_regions, dataset_regions, ignore_label
from nnunet_missingmod.inference.model_files import Fold
from nnunet_missingmod.modalities import channel_names


@dataclass(frozen=True)
class NamedModel:
    """A model folder under the name that tables give it; ``folds`` are those asked for, None for all."""

    name: str
    folder: Path
    folds: tuple[Fold, ...] | None


@dataclass(frozen=True)
class Task:
    """What models must have in common to be compared: modalities, regions, and how label maps are stored."""

    modalities: tuple[str, ...]
    regions: dict[str, Region]
    ignore_label: int | None
    file_ending: str


def name_models(given: Sequence[str | Path], folds: Sequence[Fold] | None) -> list[NamedModel]:
    """Return the models with their names: the one before ``=`` where there is one, else the trainer's.

    Where that is not enough to tell them apart it is the folder's name.

    Args:
        given: ``FOLDER`` or ``NAME=FOLDER`` each.
        folds: of every model, None for all it has.

    Raises:
        ValueError: two models have one name.
    """
    names: list[str | None] = []
    folders: list[Path] = []
    for each in given:
        before, separator, after = str(each).partition("=")
        named = bool(separator) and os.sep not in before and not Path(each).exists()
        names.append(before if named else None)
        folders.append(Path(after if named else each))
    trainers = Counter(folder.resolve().name.split("__")[0] for folder in folders)
    for index, folder in enumerate(folders):
        trainer = folder.resolve().name.split("__")[0]
        if names[index] is None:
            names[index] = trainer if trainers[trainer] == 1 else folder.resolve().name
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Two models are called {twice[0]!r}: give them names, as in A=FOLDER B=FOLDER.")
    chosen = None if folds is None else tuple(folds)
    return [NamedModel(str(name), folder, chosen) for name, folder in zip(names, folders, strict=True)]


def common_task(dataset_jsons: Mapping[str, Mapping[str, Any]]) -> Task:
    """Return what the models, given by name with their dataset.json, are evaluated on.

    Regions are WT, TC and ET where the labels are those of BraTS, else those of the dataset.

    Raises:
        ValueError: they differ in modalities, labels or file ending, so that their scores are not comparable.
    """
    tasks = {
        name: Task(
            channel_names(content),
            brats_regions(content) or dataset_regions(content),
            ignore_label(content),
            str(content["file_ending"]),
        )
        for name, content in dataset_jsons.items()
    }
    (first, task), *others = tasks.items()
    for name, other in others:
        if other != task:
            raise ValueError(
                f"{first} and {name} cannot be compared: {task} against {other}. Evaluate them one by one."
            )
    return task
