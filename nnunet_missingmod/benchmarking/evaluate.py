"""An evaluation from its request to its files: cases, predictions, scores, report, model cards; what fails is named."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from tqdm import tqdm

from nnunet_missingmod import plans_block
from nnunet_missingmod.benchmarking.cases import EvaluationCase, EvaluationSet, test_set, validation_sets
from nnunet_missingmod.benchmarking.predictions import predict_set, predict_stages, reason, stages_of
from nnunet_missingmod.benchmarking.references import Reference, check_references
from nnunet_missingmod.benchmarking.report import write_evaluation
from nnunet_missingmod.benchmarking.request import (
    NamedModel,
    Request,
    Task,
    common_task,
    refuse_output_within,
    task_of,
)
from nnunet_missingmod.benchmarking.scoring import ToScore, score_all
from nnunet_missingmod.benchmarking.store import PredictionStore
from nnunet_missingmod.errors import FailedError, UsageError
from nnunet_missingmod.evaluation.agreement import FOLDS, SUBSETS, Agreement
from nnunet_missingmod.evaluation.scores import write_scores
from nnunet_missingmod.inference.model_files import ModelFolderError, read_model_json
from nnunet_missingmod.inference.model_folder import (
    check_plans_are_complete,
    load_predictor,
    open_model_folder,
    plans_errors_explained,
)
from nnunet_missingmod.modalities import ALL, SUBSET_WORDS, Subset, choose_subsets, name_patients, subset_name
from nnunet_missingmod.storage import check_output
from nnunet_missingmod.workers import Workers

logger = logging.getLogger(__name__)

SCORES = "scores.csv"
PREDICTIONS = "predictions"
PREVIOUS_STAGES = "predictions_of_previous_stages"

# Of more, every subset is predicted only where that is asked for: 255 subsets of 8, twice as many of each more.
_MOST_MODALITIES_OF_EVERY_SUBSET = 8


@dataclass
class Outcome:
    """What is said at the end: lines on what was measured, and a line on everything that failed."""

    summary: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class _Progress:
    """What is known of an evaluation so far."""

    sets: dict[str, list[EvaluationSet]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    predictions: list[ToScore] = field(default_factory=list)
    fold_agreement: dict[ToScore, Agreement] = field(default_factory=dict)
    weights: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def cases(self) -> dict[str, EvaluationCase]:
        """Return every case that any model is evaluated on, sorted by name."""
        found = {case.case: case for sets in self.sets.values() for each in sets for case in each.cases}
        return dict(sorted(found.items()))

    def drop(self, refused: Mapping[str, str]) -> None:
        """Leave out cases of every model; each is a failure, with its reason."""
        for name, sets in self.sets.items():
            self.sets[name] = [
                replace(each, cases=[case for case in each.cases if case.case not in refused]) for each in sets
            ]
        self.failures += [f"case {case}: {why}" for case, why in refused.items()]


def evaluate(request: Request) -> Outcome:
    """Evaluate the models of a request and write everything into its output folder.

    Predictions that are there already and were made by the same weights from the same images are kept.

    Raises:
        UsageError: no model or no case can be used, the models cannot be compared, references hold other values than
            labels, a word for a subset or a region is unknown, a case names no patient, or the output folder cannot be
            written to. Nothing was written.
        FailedError: there is nothing to score, because no case has the modalities of a subset that was asked for.
        OSError: the disk is full, say. Called again, the evaluation goes on.
    """
    progress = _Progress()
    task = _find_cases(request, progress)
    try:
        subsets = _choose_subsets(request.subset_words, task.modalities)
        pattern = request.patient_pattern
        patients = None if pattern is None else name_patients(progress.cases(), pattern)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for region in request.least_size:
        if region not in task.regions:
            raise UsageError(f"--least-size: there is no region {region!r}, only {', '.join(task.regions)}.")
    folders = {file.parent for case in progress.cases().values() for file in (case.reference, *case.files.values())}
    refuse_output_within(request.output, sorted(folders))
    choices = _drop_models_that_cannot_predict(request, progress)
    with Workers(request.jobs) as workers:
        references = check_references(
            list(progress.cases().values()),
            task,
            request.label_map,
            choices=choices,
            workers=workers,
        )
        progress.references = references.usable
        progress.drop(references.refused)
        if not progress.cases():
            raise UsageError("\n".join(["There is no case to evaluate on.", *progress.failures]))
        check_output(request.output)
        request.output.mkdir(parents=True, exist_ok=True)
        _warn(progress)
        _predict(request, task, subsets, progress, workers)
        scored = score_all(
            progress.predictions,
            progress.references,
            task,
            label_map=request.label_map,
            tolerance_mm=request.tolerance_mm,
            workers=workers,
        )
    progress.failures += [
        f"{each.model}, case {each.case} with {subset_name(each.subset, task.modalities)}: {why}"
        for each, why in scored.failed.items()
    ]
    rows = [row for prediction in progress.predictions for row in scored.rows.get(prediction, ())]
    if not rows:
        if not progress.failures:
            raise FailedError("Nothing could be scored: no case has the modalities of any subset that was asked for.")
        return Outcome(["Nothing could be scored."], progress.failures)
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
        agreement={
            FOLDS: {each: progress.fold_agreement[each] for each in scored.rows if each in progress.fold_agreement},
            SUBSETS: scored.agreement,
        },
    )
    return Outcome(summary, progress.failures)


def _choose_subsets(words: Sequence[str], modalities: Sequence[str]) -> list[Subset]:
    """Return the subsets asked for; without words every one, if they are not too many for that.

    Raises:
        ValueError: they are too many, or as `choose_subsets`.
    """
    if not words and len(modalities) > _MOST_MODALITIES_OF_EVERY_SUBSET:
        raise ValueError(
            f"{len(modalities)} modalities have {2 ** len(modalities) - 1:,} subsets: say with --subsets which of them "
            f"to evaluate: {SUBSET_WORDS}."
        )
    return choose_subsets(words or (ALL,), modalities)


def _find_cases(request: Request, progress: _Progress) -> Task:
    """Find each model's cases; return what the models have in common."""
    for model in request.models:
        try:
            if not model.folder.is_dir():
                raise ModelFolderError(f"There is no model folder {model.folder}.")
            with plans_errors_explained(model.folder):
                dataset_json, plans = (read_model_json(model.folder, name) for name in ("dataset.json", "plans.json"))
                progress.tasks[model.name] = task_of(dataset_json, plans)
                progress.sets[model.name] = _sets_of(model, request)
        except (ValueError, OSError) as error:
            progress.tasks.pop(model.name, None)
            progress.failures.append(f"{model.name}: {error}")
    if not progress.tasks:
        raise UsageError("\n".join(progress.failures))
    try:
        task = common_task(progress.tasks)
    except ValueError as error:
        raise UsageError(str(error)) from error
    references: dict[str, Path] = {}
    for name, sets in progress.sets.items():
        for each in sets:
            progress.failures += [f"{name}, case {case}: {why}" for case, why in each.refused.items()]
            for case in each.cases:
                if references.setdefault(case.case, case.reference) != case.reference:
                    raise UsageError(
                        f"Case {case.case} of {name} has another reference than that of the models before it: models "
                        "of different datasets are compared on one test folder (-i, -ref)."
                    )
    return task


def _sets_of(model: NamedModel, request: Request) -> list[EvaluationSet]:
    if request.images is None or request.references is None:
        return validation_sets(model.folder, model.folds, checkpoint_name=request.checkpoint_name)
    return [
        test_set(model.folder, model.folds, request.images, request.references, checkpoint_name=request.checkpoint_name)
    ]


def _drop_models_that_cannot_predict(request: Request, progress: _Progress) -> dict[str, Any]:
    """Load every model once, so that what is damaged is known before anything is predicted or written.

    Returns:
        The choices of the first model's plans on how files are read.

    Raises:
        UsageError: no model can be used.
    """
    first: dict[str, Any] | None = None
    for model in request.models:
        usable = []
        for each in progress.sets.get(model.name, ()):
            try:
                with plans_errors_explained(model.folder):
                    opened = open_model_folder(model.folder, folds=each.folds, checkpoint_name=request.checkpoint_name)
                    for stage in stages_of(opened):
                        check_plans_are_complete(stage)
                        load_predictor(stage, device=torch.device("cpu"), kind=nnUNetPredictor)
                    block = opened.configuration_manager.configuration.get(plans_block.BLOCK)
                    choices = plans_block.resolve(block)
            except Exception as error:  # one model must not end the others, whatever is wrong with it
                progress.failures.append(f"{model.name}, fold {each.fold_name}: {reason(error)}")
            else:
                usable.append(each)
                first = choices if first is None else first
        if model.name in progress.sets:
            progress.sets[model.name] = usable
    if first is None:
        raise UsageError("\n".join(progress.failures))
    return first


def _warn(progress: _Progress) -> None:
    """Say what whoever reads the scores should know."""
    for name, sets in progress.sets.items():
        for note in dict.fromkeys(note for each in sets for note in each.notes):
            logger.warning("%s: %s", name, note)
    models = [name for name, sets in progress.sets.items() if sets]
    number = Counter(case.case for sets in progress.sets.values() for each in sets for case in each.cases)
    some = [case for case, count in number.items() if count < len(models)]
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
                except Exception as error:  # as before: want of memory, or files that have changed since
                    progress.failures.append(f"{model.name}, fold {each.fold_name}: {reason(error)}")
                    bar.update(len(subsets) * len(each.cases))
                    continue
                progress.weights.setdefault(model.name, {}).update(opened.fold_fingerprints)
                progress.failures += [f"{model.name}, case {case}: {why}" for case, why in predicted.failed.items()]
                for case in sorted(case.case for case in each.cases):
                    for subset in subsets:
                        if (case, subset) in predicted.files:
                            found = ToScore(model.name, each.fold_name, case, subset, predicted.files[case, subset])
                            progress.predictions.append(found)
                            if (case, subset) in predicted.fold_agreement:
                                progress.fold_agreement[found] = predicted.fold_agreement[case, subset]


def _expect_more(bar: tqdm[Any], predictions: int) -> None:
    bar.total += predictions
    bar.refresh()
