"""The request of an evaluation: its models, their names and the options, checked before anything is read or written."""

from __future__ import annotations

import argparse
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_missingmod.cases.dataset import label_values
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.conventions import Region, brats_regions, dataset_regions, ignore_label
from nnunet_missingmod.inference.model_files import Fold, ModelFolderError, find_model_folder
from nnunet_missingmod.modalities import channel_names, compile_pattern
from nnunet_missingmod.storage import name_problem

if TYPE_CHECKING:
    import torch

    from nnunet_missingmod.benchmarking.predictions import PredictionSettings


@dataclass(frozen=True)
class NamedModel:
    """A model folder under the name that tables give it; ``folds`` are those asked for, None for all."""

    name: str
    folder: Path
    folds: tuple[Fold, ...] | None


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


def name_models(given: Sequence[str | Path], folds: Sequence[Fold] | None) -> list[NamedModel]:
    """Return the models with their names: the one before ``=`` where there is one, else the trainer's.

    Where that is not enough to tell them apart it is the folder's name.

    Args:
        given: ``FOLDER`` or ``NAME=FOLDER`` each.
        folds: of every model, None for all it has.

    Raises:
        ValueError: two models have one name, or a name cannot be that of a folder.
    """
    names: list[str | None] = []
    folders: list[Path] = []
    for each in given:
        before, separator, after = str(each).partition("=")
        # A path that holds a = is one, unless what stands after it is a folder and the whole is not.
        named = bool(separator) and not os.path.exists(each) and (os.sep not in before or os.path.isdir(after))
        names.append(before if named else None)
        folders.append(Path(after if named else each))
    trainers = Counter(folder.resolve().name.split("__")[0] for folder in folders)
    for index, folder in enumerate(folders):
        trainer = folder.resolve().name.split("__")[0]
        if names[index] is None:
            names[index] = trainer if trainers[trainer] == 1 else folder.resolve().name
    first: dict[str, str] = {}
    for name in map(str, names):
        problem = name_problem(name)
        if problem:
            raise ValueError(
                f"The model name {name!r} {problem}, and a folder of predictions is called after it: give another, as "
                "in A=FOLDER."
            )
        # Some file systems do not tell these apart.
        key = unicodedata.normalize("NFC", name).casefold()
        if key in first:
            also = "" if first[key] == name else f" and {first[key]!r}, which some disks do not tell apart"
            raise ValueError(f"Two models are called {name!r}{also}: give them names, as in A=FOLDER B=FOLDER.")
        first[key] = name
    chosen = None if folds is None else tuple(folds)
    return [NamedModel(str(name), folder, chosen) for name, folder in zip(names, folders, strict=True)]


def task_of(dataset_json: Mapping[str, Any], plans: Mapping[str, Any]) -> Task:
    """Return what a model is evaluated on: WT, TC and ET where its labels are those of BraTS, else its own regions.

    Raises:
        ValueError: channels or labels of dataset.json are none.
        KeyError: plans.json or dataset.json lacks an entry.
    """
    return Task(
        channel_names(dataset_json),
        brats_regions(dataset_json) or dataset_regions(dataset_json),
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


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and how.

    Attributes:
        models: one or more, in the order of tables.
        baseline: the name of the model that the others are compared with.
        images, references: a test folder, or None for the validation cases of the folds.
        checkpoint_name: the file in each fold's folder.
        output: folder of predictions, scores and report.
        subset_words: see ``choose_subsets``; empty for every subset.
        convention: name of what empty masks score in the main tables.
        tolerance_mm: of the surface Dice.
        least_size: {region: voxels} for the rule of small regions.
        label_map: {value in the references: label of the dataset that it stands for}.
        patient_pattern: whose one group is the patient in the name of a case; None if each case is one.
        settings: of the predictions.
        device: where networks run.
        jobs: processes for everything else.
        command: as it was called, for the report.
        margin: of non-inferiority on complete cases, in points of Dice; None if none was given.
    """

    models: tuple[NamedModel, ...]
    baseline: str
    images: Path | None
    references: Path | None
    checkpoint_name: str
    output: Path
    subset_words: tuple[str, ...]
    convention: str
    tolerance_mm: float
    least_size: dict[str, int]
    label_map: dict[int, int]
    patient_pattern: re.Pattern[str] | None
    settings: PredictionSettings
    device: torch.device
    jobs: int
    command: str
    margin: float | None = None


def request_of(args: argparse.Namespace, command: str) -> Request:
    """Return the request that the command line's arguments make.

    Raises:
        UsageError: they contradict each other, or a value is out of its range.
    """
    try:
        models = name_models(_folders(args), args.folds)
        patient_pattern = None if args.patients is None else compile_pattern(args.patients)
    except ValueError as error:
        raise UsageError(str(error)) from error
    names = [model.name for model in models]
    if args.baseline is not None and args.baseline not in names:
        raise UsageError(f"--baseline {args.baseline!r} is none of the models: {', '.join(names)}.")
    if (args.input is None) != (args.references is None):
        raise UsageError("A test folder needs both its images (-i) and their references (-ref).")
    refuse_output_within(
        args.output, [folder for folder in (args.input, args.references, *(m.folder for m in models)) if folder]
    )
    _refuse_folders_of_the_host(args.output)
    if not 0 < args.tolerance < math.inf:
        raise UsageError(f"--tolerance is a number of mm above 0, got {args.tolerance}.")
    if args.margin is not None and not 0 < args.margin < 100:
        raise UsageError(f"--margin is a number of points of Dice between 0 and 100, got {args.margin}.")
    if args.margin is not None and len(models) < 2:
        raise UsageError("--margin compares a model with --baseline: give two models or more.")
    least_size, label_map = _least_size(args.least_size), _label_map(args.map_labels or ())

    # They import torch, which takes seconds, and wrong usage is said without.
    from nnunet_missingmod.benchmarking.predictions import PredictionSettings
    from nnunet_missingmod.inference.predictor import choose_device

    try:
        device = choose_device(args.device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Request(
        models=tuple(models),
        baseline=args.baseline or names[0],
        images=args.input,
        references=args.references,
        checkpoint_name=args.checkpoint,
        output=args.output,
        subset_words=tuple(args.subsets or ()),
        convention=args.convention,
        tolerance_mm=args.tolerance,
        least_size=least_size,
        label_map=label_map,
        patient_pattern=patient_pattern,
        settings=PredictionSettings(tile_step_size=args.step_size, mirroring=not args.disable_tta),
        device=device,
        jobs=args.processes,
        command=command,
        margin=args.margin,
    )


def refuse_output_within(output: Path, folders: Iterable[Path]) -> None:
    """Check that results are not written among images, references or models.

    Raises:
        UsageError: the output folder is one of the folders, or lies in one.
    """
    for folder in folders:
        if output.resolve().is_relative_to(folder.resolve()):
            where = "is" if output.resolve() == folder.resolve() else "lies in"
            raise UsageError(
                f"-o {output} {where} {folder}, which is read: results must not lie among images, references or "
                "models. Choose another -o."
            )


def _refuse_folders_of_the_host(output: Path) -> None:
    """Check that results are not written beside what nnU-Net keeps.

    Raises:
        UsageError: the output folder is one of nnU-Net's folders, holds one, or is a raw dataset.
    """
    output = output.resolve()
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        if not os.environ.get(variable):
            continue
        folder = Path(os.environ[variable]).resolve()
        if folder.is_relative_to(output):
            raise UsageError(f"-o {output} is or holds {folder}, which is {variable}. Choose another -o.")
        if variable == "nnUNet_raw" and output.parent == folder and output.is_dir():
            raise UsageError(f"-o {output} is a raw dataset. Choose another -o.")


def _folders(args: argparse.Namespace) -> list[str | Path]:
    folders = [*args.positional, *args.model]
    options = {"-d": args.dataset, "-c": args.configuration, "-tr": args.trainer}
    missing = [option for option, value in options.items() if value is None]
    if folders and len(missing) < len(options):
        raise UsageError("Give model folders, or -d, -c and -tr, not both.")
    if folders:
        return folders
    if missing:
        more = "to find them" if len(missing) == len(options) else "too"
        raise UsageError(f"Give model folders, or {' and '.join(missing)} {more}.")
    try:
        return [find_model_folder(args.dataset, args.configuration, each, args.plans) for each in args.trainer]
    except ModelFolderError as error:
        raise UsageError(str(error)) from error


def _least_size(word: str | None) -> dict[str, int]:
    if word is None:
        return {}
    region, _, voxels = word.rpartition("=")
    if not region or not voxels.isdecimal() or int(voxels) < 1:
        raise UsageError(f"--least-size takes REGION=VOXELS, as ET=500, got {word!r}.")
    return {region: int(voxels)}


def _label_map(words: Iterable[str]) -> dict[int, int]:
    mapping: dict[int, int] = {}
    for word in words:
        value, separator, label = word.partition("=")
        if not (separator and value.isdecimal() and label.isdecimal()) or int(value) in mapping:
            raise UsageError(
                f"--map-labels takes VALUE=LABEL, as 4=3, once for each value of the references, got {word!r}."
            )
        mapping[int(value)] = int(label)
    return mapping
