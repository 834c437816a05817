"""An evaluation from its request to its files: cases, predictions, scores, report, model cards; what fails is named."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_missingmod.benchmarking.cases import EvaluationSet, test_set, validation_sets
from nnunet_missingmod.benchmarking.predictions import predict_set, predict_stages
from nnunet_missingmod.benchmarking.report import write_evaluation
from nnunet_missingmod.benchmarking.request import NamedModel, Request, Task, common_task
from nnunet_missingmod.benchmarking.scoring import ToScore, score_all
from nnunet_missingmod.benchmarking.store import PredictionStore
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.scores import write_scores
from nnunet_missingmod.inference.model_files import ModelFolderError, read_model_json
from nnunet_missingmod.inference.model_folder import open_model_folder, plans_errors_explained
from nnunet_missingmod.modalities import Subset, choose_subsets, name_patients, subset_name
from nnunet_missingmod.workers import Workers

logger = logging.getLogger(__name__)

SCORES = "scores.csv"
PREDICTIONS = "predictions"
PREVIOUS_STAGES = "predictions_of_previous_stages"


@dataclass
class Outcome:
    """What is said at the end: lines on what was measured, and a line on everything that failed."""

    summary: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class _Progress:
    """What is known of an evaluation so far."""

    sets: dict[str, list[EvaluationSet]] = field(default_factory=dict)
    references: dict[str, Path] = field(default_factory=dict)
    predictions: list[ToScore] = field(default_factory=list)
    weights: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def evaluate(request: Request) -> Outcome:
    """Evaluate the models of a request and write everything into its output folder.

    Predictions that are there already and were made by the same weights from the same images are kept.

    Raises:
        UsageError: no model can be used, they cannot be compared, a word for a subset or a region is unknown, a case
            names no patient, or the output folder cannot be written to. Nothing was written.
        OSError: the disk is full, say. Called again, the evaluation goes on.
    """
    progress = _Progress()
    task = _find_cases(request, progress)
    try:
        subsets = choose_subsets(request.subset_words, task.modalities)
        pattern = request.patient_pattern
        patients = None if pattern is None else name_patients(progress.references, pattern)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for region in request.least_size:
        if region not in task.regions:
            raise UsageError(f"--least-size: there is no region {region!r}, only {', '.join(task.regions)}.")
    _prepare_output(request.output)
    with Workers(request.jobs) as workers:
        _predict(request, task, subsets, progress, workers)
        scored = score_all(
            progress.predictions, progress.references, task, tolerance_mm=request.tolerance_mm, workers=workers
        )
    progress.failures += [
        f"{each.model}, case {each.case} with {subset_name(each.subset, task.modalities)}: {why}"
        for each, why in scored.failed.items()
    ]
    rows = [row for prediction in progress.predictions for row in scored.rows.get(prediction, ())]
    if not rows:
        return Outcome(failures=[*progress.failures, "Nothing could be scored."])
    write_scores(rows, request.output / SCORES)
    summary = write_evaluation(
        request,
        task,
        subsets,
        rows,
        progress.predictions,
        progress.sets,
        progress.weights,
        progress.failures,
        patients=patients,
    )
    return Outcome(summary, progress.failures)


def _prepare_output(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no write access")
    except OSError as error:
        raise UsageError(
            f"Cannot write into {folder}: {error}. Choose another -o, or mend the access rights."
        ) from error


def _find_cases(request: Request, progress: _Progress) -> Task:
    """Find each model's cases; return what the models have in common."""
    dataset_jsons = {}
    for model in request.models:
        try:
            with plans_errors_explained(model.folder):
                progress.sets[model.name] = _sets_of(model, request)
                dataset_jsons[model.name] = read_model_json(model.folder, "dataset.json")
        except (ValueError, OSError) as error:
            progress.sets.pop(model.name, None)
            progress.failures.append(f"{model.name}: {error}")
    if not dataset_jsons:
        raise UsageError("\n".join(progress.failures))
    try:
        task = common_task(dataset_jsons)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name, sets in progress.sets.items():
        for each in sets:
            progress.failures += [f"{name}, case {case}: {why}" for case, why in each.refused.items()]
            for case in each.cases:
                if progress.references.setdefault(case.case, case.reference) != case.reference:
                    raise UsageError(
                        f"Case {case.case} of {name} has another reference than that of the models before it: models "
                        "of different datasets are compared on one test folder (-i, -ref)."
                    )
    _warn_of_different_cases(progress)
    return task


def _sets_of(model: NamedModel, request: Request) -> list[EvaluationSet]:
    if request.images is None or request.references is None:
        return validation_sets(model.folder, model.folds, checkpoint_name=request.checkpoint_name)
    return [
        test_set(model.folder, model.folds, request.images, request.references, checkpoint_name=request.checkpoint_name)
    ]


def _warn_of_different_cases(progress: _Progress) -> None:
    number = Counter(case.case for sets in progress.sets.values() for each in sets for case in each.cases)
    some = [case for case, count in number.items() if count < len(progress.sets)]
    if some:
        logger.warning(
            "%d of %d cases are not those of every model: comparisons use the others.", len(some), len(number)
        )


def _predict(request: Request, task: Task, subsets: Sequence[Subset], progress: _Progress, workers: Workers) -> None:
    total = len(subsets) * sum(len(each.cases) for sets in progress.sets.values() for each in sets)
    with tqdm(total=total, desc="predicting", unit="prediction", disable=None) as bar:
        predict = partial(
            predict_set,
            settings=request.settings,
            device=request.device,
            workers=workers,
            on_progress=bar.update,
        )
        for model in request.models:
            store = PredictionStore(request.output / PREDICTIONS / model.name, task.modalities, task.file_ending)
            for each in progress.sets.get(model.name, ()):
                bar.set_postfix_str(f"{model.name}, fold {each.fold_name}")
                try:
                    opened = open_model_folder(model.folder, folds=each.folds, checkpoint_name=request.checkpoint_name)
                    predicted = predict_stages(
                        opened,
                        each,
                        subsets,
                        store,
                        predict=predict,
                        stages_folder=request.output / PREVIOUS_STAGES / model.name,
                        on_more=partial(_expect_more, bar),
                    )
                except ModelFolderError as error:
                    progress.failures.append(f"{model.name}, fold {each.fold_name}: {error}")
                    bar.update(len(subsets) * len(each.cases))
                    continue
                progress.weights.setdefault(model.name, {}).update(opened.fold_fingerprints)
                progress.failures += [f"{model.name}, case {case}: {why}" for case, why in predicted.failed.items()]
                progress.predictions += [
                    ToScore(model.name, each.fold_name, case, subset, predicted.files[case, subset])
                    for case in sorted(case.case for case in each.cases)
                    for subset in subsets
                    if (case, subset) in predicted.files
                ]


def _expect_more(bar: tqdm[Any], predictions: int) -> None:
    bar.total += predictions
    bar.refresh()
