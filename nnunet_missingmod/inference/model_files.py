"""The files of a model folder: its path, its folds and its JSON files. It reads no weights; ``model_folder`` does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.utilities.file_path_utilities import get_output_folder

from nnunet_missingmod.cases.description import check_dataset_json
from nnunet_missingmod.modalities import written_names
from nnunet_missingmod.sharing.manifest import WEIGHTS
from nnunet_missingmod.storage import read_json_object

FINAL = "checkpoint_final.pth"
BEST = "checkpoint_best.pth"

Fold = int | str


class ModelFolderError(ValueError):
    """A model folder cannot be used; the message names it and says what to do."""


def find_model_folder(dataset: str | int, configuration: str, trainer: str, plans: str) -> Path:
    """Return the folder in which nnU-Net keeps the model that ``-d -c -tr -p`` name.

    Raises:
        ModelFolderError: the dataset is unknown, or nnUNet_results is not set.
    """
    try:
        return Path(get_output_folder(dataset, trainer, plans, configuration))
    except (RuntimeError, AssertionError, TypeError, OSError) as error:
        raise ModelFolderError(
            f"Cannot find the model of dataset {dataset}: {error} Or give the model's folder, or its zip, by -m, which "
            "needs no variable."
        ) from error


def choose_folds(folder: Path, folds: Sequence[Fold] | None, checkpoint_name: str = FINAL) -> tuple[Fold, ...]:
    """Return the requested folds; by default every numbered fold that has the checkpoint, or ``all`` if none has.

    Raises:
        ModelFolderError: there is no fold, or a requested one is missing.
    """
    found: list[Fold] = []
    for path in folder.glob("fold_*"):
        name = path.name.removeprefix("fold_")
        files = (path / checkpoint_name, (path / checkpoint_name).with_suffix(WEIGHTS))
        if any(file.is_file() for file in files) and (name == "all" or re.fullmatch("0|[1-9][0-9]*", name)):
            found.append(name if name == "all" else int(name))
    found.sort(key=lambda fold: (isinstance(fold, str), fold))
    if folds is None:
        numbered = tuple(fold for fold in found if fold != "all")
        if not found:
            there = _checkpoints_there(folder)
            fix = f"it has {there}" if there else "train one to its end (nnUNetv2_train)"
            raise ModelFolderError(
                f"No fold of {folder} has {checkpoint_name}: {fix}, or continue a training that was cut off with --c. "
                "If somebody gave you the model, ask for the whole of it."
            )
        return numbered or ("all",)
    missing = [str(fold) for fold in folds if fold not in found]
    if missing or not folds:
        raise ModelFolderError(
            f"Model {folder} has no {checkpoint_name} of fold {', '.join(missing) or '(none asked for)'}; it has "
            f"{', '.join(map(str, found)) or _checkpoints_there(folder) or 'none'}."
        )
    return tuple(folds)


def _checkpoints_there(folder: Path) -> str:
    """Return, for a message, which checkpoints the folds have, as ``-chk`` takes them; nothing if they have none."""
    files = [file for file in folder.glob("fold_*/checkpoint_*") if file.suffix in (".pth", WEIGHTS) and file.is_file()]
    names = sorted({file.with_suffix(".pth").name for file in files})
    return f"{' and '.join(names)} (-chk {names[0]})" if names else ""


def read_model_json(folder: Path, name: str) -> dict[str, Any]:
    """Return ``plans.json`` or ``dataset.json`` of a model folder.

    Raises:
        ModelFolderError: the file cannot be read, or does not describe a dataset.
    """
    try:
        content = read_json_object(folder / name)
    except ValueError as error:
        raise ModelFolderError(
            f"{folder} is not a model folder of nnU-Net: {name} cannot be read ({error}). Give the folder "
            "TRAINER__PLANS__CONFIGURATION in nnUNet_results, not one of its folds."
        ) from error
    if name == "dataset.json":
        try:
            check_dataset_json(content)
        except ValueError as error:
            raise ModelFolderError(f"The model cannot be used: {folder / name}: {error}") from error
    return content


def check_dataset_is_the_trainings(folder: Path, dataset_json: Mapping[str, Any], trained_on: Any) -> None:
    """Check that a model's dataset.json means what it meant in the training.

    Args:
        folder: of the model, for messages.
        dataset_json: of the folder.
        trained_on: what the checkpoint kept of it; nothing is compared if it kept none.

    Raises:
        ModelFolderError: channels, labels, the order of regions or the file ending differ.
    """
    if not isinstance(trained_on, Mapping):
        return
    try:
        check_dataset_json(trained_on)
    except ValueError:  # of a training that read it otherwise
        return
    now, then = _meaning(dataset_json), _meaning(trained_on)
    differences = [f"{key} {now[key]}, in the training {then[key]}" for key in now if now[key] != then[key]]
    if differences:
        raise ModelFolderError(
            f"{folder / 'dataset.json'} is not that of the training, which the checkpoint holds: "
            f"{'; '.join(differences)}. Restore what the training wrote."
        )


def _meaning(dataset_json: Mapping[str, Any]) -> dict[str, str]:
    """Return, in words, what a dataset.json means for a prediction, however it is written."""
    labels = {
        str(name): sorted(int(each) for each in value) if isinstance(value, list | tuple) else [int(value)]
        for name, value in dataset_json["labels"].items()
    }
    has_regions = any(len(values) > 1 for values in labels.values())
    # Regions are the network's outputs in the order in which they are written; labels are so by their numbers.
    names = list(labels) if has_regions else sorted(labels, key=lambda name: (labels[name], name))
    order = dataset_json.get("regions_class_order") if has_regions else None
    return {
        "channels": ", ".join(f"{channel}: {name}" for channel, name in enumerate(written_names(dataset_json))),
        "labels": ", ".join(f"{name}: {'+'.join(map(str, labels[name]))}" for name in names),
        "regions_class_order": ", ".join(str(int(each)) for each in order or ()) or "none",
        "file_ending": str(dataset_json["file_ending"]),
    }
