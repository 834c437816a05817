"""The request of an evaluation: its models, their names and the options, checked before anything is read or written."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_missingmod.benchmarking.predictions import PredictionSettings
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.conventions import Region, brats_regions, dataset_regions, ignore_label
from nnunet_missingmod.inference.model_files import Fold, ModelFolderError, find_model_folder
from nnunet_missingmod.inference.predictor import choose_device
from nnunet_missingmod.modalities import channel_names, compile_pattern


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


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and how.

    Attributes:
        models: one or more, in the order of tables.
        baseline: the name of the model that the others are compared with.
        images, references: a test folder, or None for the validation cases of the folds.
        checkpoint_name: the file in each fold's folder.
        output: folder of predictions, scores and report.
        subset_words: see ``choose_subsets``.
        convention: name of what empty masks score in the main tables.
        tolerance_mm: of the surface Dice.
        least_size: {region: voxels} for the rule of small regions.
        patient_pattern: whose one group is the patient in the name of a case; None if each case is one.
        settings: of the predictions.
        device: where networks run.
        jobs: processes for everything else.
        command: as it was called, for the report.
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
    patient_pattern: re.Pattern[str] | None
    settings: PredictionSettings
    device: torch.device
    jobs: int
    command: str


def request_of(args: argparse.Namespace, command: str) -> Request:
    """Return the request that the command line's arguments make.

    Raises:
        UsageError: they contradict each other, or a value is out of its range.
    """
    try:
        folds = None if args.folds is None else [_fold(word) for word in args.folds]
        models = name_models(_folders(args), folds)
        device = choose_device(args.device)
        patient_pattern = None if args.patients is None else compile_pattern(args.patients)
    except ValueError as error:
        raise UsageError(str(error)) from error
    names = [model.name for model in models]
    if args.baseline is not None and args.baseline not in names:
        raise UsageError(f"--baseline {args.baseline!r} is none of the models: {', '.join(names)}.")
    if (args.input is None) != (args.references is None):
        raise UsageError("A test folder needs both its images (-i) and their references (-ref).")
    for folder in (args.input, args.references):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"There is no folder {folder}.")
    if not 0 < args.step_size <= 1:
        raise UsageError(f"-step_size is above 0 and at most 1, got {args.step_size}.")
    if args.processes < 1:
        raise UsageError(f"-np (or --jobs) is 1 or more, got {args.processes}.")
    if not args.tolerance > 0:
        raise UsageError(f"--tolerance is in mm and above 0, got {args.tolerance}.")
    return Request(
        models=tuple(models),
        baseline=args.baseline or names[0],
        images=args.input,
        references=args.references,
        checkpoint_name=args.checkpoint,
        output=args.output,
        subset_words=tuple(args.subsets),
        convention=args.convention,
        tolerance_mm=args.tolerance,
        least_size=_least_size(args.least_size),
        patient_pattern=patient_pattern,
        settings=PredictionSettings(tile_step_size=args.step_size, mirroring=not args.disable_tta),
        device=device,
        jobs=args.processes,
        command=command,
    )


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


def _fold(word: str) -> Fold:
    if word != "all" and not word.isdecimal():
        raise UsageError(f"A fold is a number or all, got {word!r}.")
    return word if word == "all" else int(word)


def _least_size(word: str | None) -> dict[str, int]:
    if word is None:
        return {}
    region, _, voxels = word.rpartition("=")
    if not region or not voxels.isdecimal() or int(voxels) < 1:
        raise UsageError(f"--least-size takes REGION=VOXELS, as ET=500, got {word!r}.")
    return {region: int(voxels)}
