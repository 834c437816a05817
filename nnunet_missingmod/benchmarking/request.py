"""The request of an evaluation: its models, their names and the options, checked before anything is read or written."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_missingmod.benchmarking.named_models import NamedModel, OutsideModel, name_models, name_outside
from nnunet_missingmod.benchmarking.outside import check_pattern
from nnunet_missingmod.benchmarking.store import PredictionSettings
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.conventions import AUTO
from nnunet_missingmod.evaluation.lesions import EXTRA, are_available
from nnunet_missingmod.evaluation.metrics import DEFAULT_TOLERANCE_MM
from nnunet_missingmod.modalities import compile_pattern
from nnunet_missingmod.storage import check_not_of_the_host

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and how.

    Attributes:
        models: nnU-Net's, in the order of tables; none if there are others.
        baseline: the name of the model that the others are compared with.
        images, references: a test folder, or None for the validation cases of the folds.
        checkpoint_name: the file in each fold's folder.
        output: folder of predictions, scores and report.
        subset_words: see ``choose_subsets``; empty for every subset.
        convention: name of what empty masks score in the main tables.
        tolerance_mm: of the surface Dice.
        lesions: whether lesions are counted and matched too.
        least_size: {region: voxels} for the rule of small regions.
        label_map: {value in the references: label of the dataset that it stands for}.
        patient_pattern: whose one group is the patient in the name of a case; None if each case is one.
        settings: of the predictions.
        device: where networks run.
        jobs: processes for everything else.
        command: as it was called, for the report.
        outside: models from outside, after the others in tables.
        pattern: where case and subset stand in the paths of their predictions, or None; see ``outside``.
        dataset: id, name or folder of a raw dataset, where no model says what modalities and labels are.
        prevalence: file of how often each subset occurs, or None.
        part, parts: which share of the cases, from 0, and of how many.
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
    outside: tuple[OutsideModel, ...] = ()
    pattern: str | None = None
    dataset: str | None = None
    prevalence: Path | None = None
    part: int = 0
    parts: int = 1
    margin: float | None = None
    lesions: bool = False


def request_of(args: argparse.Namespace, command: str) -> Request:
    """Return the request that the command line's arguments make.

    Raises:
        UsageError: they contradict each other, or a value is out of its range.
    """
    try:
        models = name_models(_folders(args), args.folds)
        outside = name_outside(args.predictions, args.scores, taken=[model.name for model in models])
        patient_pattern = None if args.patients is None else compile_pattern(args.patients)
        if args.pattern is not None:
            check_pattern(args.pattern)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if (args.input is None) != (args.references is None):
        raise UsageError("A test folder needs both its images (-i) and their references (-ref).")
    if args.predictions and not models and args.input is None:
        raise UsageError("Predictions are compared with references: give the cases' images (-i) and references (-ref).")
    if args.pattern is not None and not args.predictions:
        raise UsageError("--pattern says how files of --predictions are called, and there are none.")
    part, parts = args.part_id or 0, 1 if args.num_parts is None else args.num_parts
    if not 0 <= part < parts:
        raise UsageError(f"-num_parts is 1 or more and -part_id below it, from 0; got {parts} and {part}.")
    read = [args.input, args.references, *(each.folder for each in models), *(each.predictions for each in outside)]
    refuse_output_within(args.output, [folder for folder in read if folder is not None])
    check_not_of_the_host(args.output)
    tolerance_mm = DEFAULT_TOLERANCE_MM if args.tolerance is None else args.tolerance
    if not 0 < tolerance_mm < math.inf:
        raise UsageError(f"--tolerance is a number of mm above 0, got {tolerance_mm}.")
    if args.lesion_wise and not are_available():
        raise UsageError(f"--lesion-wise needs panoptica, which is not installed: {EXTRA}")
    least_size, label_map = least_size_of(args.least_size), _label_map(args.map_labels or ())
    baseline = _baseline(args.baseline, models, outside)
    margin = margin_of(args.margin, models=len(models) + len(outside))

    # It imports torch, which takes seconds, and wrong usage is said without.
    from nnunet_missingmod.inference.device import choose_device

    try:
        device = choose_device(args.device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Request(
        models=tuple(models),
        baseline=baseline,
        images=args.input,
        references=args.references,
        checkpoint_name=args.checkpoint,
        output=args.output,
        subset_words=tuple(args.subsets or ()),
        convention=args.convention or AUTO,
        tolerance_mm=tolerance_mm,
        least_size=least_size,
        label_map=label_map,
        patient_pattern=patient_pattern,
        settings=PredictionSettings(tile_step_size=args.step_size, mirroring=not args.disable_tta),
        device=device,
        jobs=args.processes,
        command=command,
        outside=tuple(outside),
        pattern=args.pattern,
        dataset=None if models else args.dataset,
        prevalence=args.prevalence,
        part=part,
        parts=parts,
        margin=margin,
        lesions=args.lesion_wise,
    )


def _baseline(given: str | None, models: Sequence[NamedModel], outside: Sequence[OutsideModel]) -> str:
    """Return the name of the model that the others are compared with; one from outside needs no mark.

    Raises:
        UsageError: there is no such model.
    """
    names = [*(model.name for model in models), *(model.name for model in outside)]
    full = {model.given_name: model.name for model in outside} | {name: name for name in names}
    if given is not None and given not in full:
        raise UsageError(f"--baseline {given!r} is none of the models: {', '.join(names)}.")
    return names[0] if given is None else full[given]


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


def _folders(args: argparse.Namespace) -> list[str | Path]:
    folders = [*args.positional, *args.model]
    options = {"-d": args.dataset, "-c": args.configuration, "-tr": args.trainer}
    missing = [option for option, value in options.items() if value is None]
    has_outside = bool(args.predictions or args.scores)
    if folders and len(missing) < len(options):
        raise UsageError("Give model folders, or -d, -c and -tr, not both.")
    if folders or (has_outside and set(missing) >= {"-c", "-tr"}):
        return folders  # beside models from outside, -d alone says what modalities and labels are
    if missing:
        more = "to find them" if len(missing) == len(options) else "too"
        others = (
            "; or predictions or scores of others (--predictions, --scores)" if len(missing) == len(options) else ""
        )
        raise UsageError(f"Give model folders, or {' and '.join(missing)} {more}{others}.")
    # nnU-Net, which a report made anew from scores does without.
    from nnunet_missingmod.inference.model_files import ModelFolderError, find_model_folder

    try:
        return [find_model_folder(args.dataset, args.configuration, each, args.plans) for each in args.trainer]
    except ModelFolderError as error:
        raise UsageError(str(error)) from error


def margin_of(points: float | None, *, models: int) -> float | None:
    """Return the margin of non-inferiority, in points of Dice.

    Raises:
        UsageError: it is out of its range, or the number of models is 1.
    """
    if points is not None and models < 2:
        raise UsageError("--margin compares a model with --baseline, and there is one model.")
    if points is not None and not 0 < points < 100:
        raise UsageError(f"--margin is a number of points of Dice between 0 and 100, got {points}.")
    return points


def least_size_of(word: str | None) -> dict[str, int]:
    """Return what ``--least-size`` says, {region: voxels}.

    Raises:
        UsageError: it is not as ``ET=500``.
    """
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
