"""nnU-Net's models in an evaluation: loaded once to see that they can predict, then run on every case and subset."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from tqdm import tqdm

from nnunet_missingmod import plans_block
from nnunet_missingmod.benchmarking.cases import EvaluationSet
from nnunet_missingmod.benchmarking.predictions import predict_set, predict_stages, reason, stages_of
from nnunet_missingmod.benchmarking.progress import Progress
from nnunet_missingmod.benchmarking.request import Request
from nnunet_missingmod.benchmarking.scoring import ToScore
from nnunet_missingmod.benchmarking.store import FOLDER as PREDICTIONS
from nnunet_missingmod.benchmarking.store import PredictionStore
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.errors import UsageError, listed
from nnunet_missingmod.evaluation.model_card import weights_key
from nnunet_missingmod.inference.model_files import ModelFolderError
from nnunet_missingmod.inference.model_folder import (
    ModelFolder,
    check_plans_are_complete,
    load_predictor,
    open_model_folder,
    plans_errors_explained,
)
from nnunet_missingmod.modalities import Subset, subset_name
from nnunet_missingmod.workers import Workers

PREVIOUS_STAGES = "predictions_of_previous_stages"
logger = logging.getLogger(__name__)


def check_models(request: Request, subsets: Sequence[Subset], progress: Progress) -> dict[str, Any]:
    """Load every model once, so that what is damaged is known before anything is predicted or written.

    A model of some modalities alone has no scores with subsets that have none of them; a line is logged on these.

    Returns:
        The choices of the first model's plans on how files are read; without a model the defaults.

    Raises:
        UsageError: no model can be used, and there is none from outside.
    """
    first: dict[str, Any] | None = None
    for model in request.models:
        usable: list[EvaluationSet] = []
        for each in progress.sets.get(model.name, ()):
            try:
                with plans_errors_explained(model.folder):
                    opened = open_model_folder(model.folder, folds=each.folds, checkpoint_name=request.checkpoint_name)
                    stages = list(stages_of(opened))
                    for stage in stages:
                        check_plans_are_complete(stage)
                        load_predictor(stage, device=torch.device("cpu"), kind=nnUNetPredictor)
                    block = opened.configuration_manager.configuration.get(plans_block.BLOCK)
                    choices = plans_block.resolve(block)
                    if not usable:  # its folds are alike
                        _note_what_is_left_out(model.name, stages, subsets)
            except Exception as error:  # one model must not end the others, whatever is wrong with it
                progress.failures.append(f"{model.name}, fold {each.fold_name}: {reason(error)}")
            else:
                usable.append(each)
                first = choices if first is None else first
        if model.name in progress.sets:
            progress.sets[model.name] = usable
    if first is None and not progress.found and not progress.rows:
        raise UsageError("\n".join(progress.failures))
    return plans_block.resolve(None) if first is None else first


def _predictable(stages: Sequence[ModelFolder], subsets: Sequence[Subset]) -> list[Subset]:
    """Return the subsets that have a modality which each stage of a model was trained on.

    Raises:
        ModelFolderError: none has.
    """
    found = list(subsets)
    for only in _trained_on(stages):
        found = [subset for subset in found if not set(subset).isdisjoint(only)]
        if not found:
            raise ModelFolderError(
                f'it was trained on {subset_name(only, stages[0].modalities)} alone ("modality_subset"), which none of '
                "the subsets has."
            )
    return found


def _trained_on(stages: Sequence[ModelFolder]) -> list[tuple[int, ...]]:
    """Return the channels of each stage that was trained on some alone."""
    return [stage.trained_on for stage in stages if stage.trained_on is not None]


def _note_what_is_left_out(name: str, stages: Sequence[ModelFolder], subsets: Sequence[Subset]) -> None:
    """Log which subsets a model of some modalities alone cannot be evaluated with.

    Raises:
        ModelFolderError: see ``_predictable``.
    """
    modalities = stages[0].modalities
    left_out = set(subsets) - set(_predictable(stages, subsets))
    if left_out:
        logger.warning(
            "%s was trained on %s alone and has no scores with %s.",
            name,
            " and ".join(dict.fromkeys(subset_name(only, modalities) for only in _trained_on(stages))),
            listed([subset_name(subset, modalities) for subset in subsets if subset in left_out]),
        )


def predict_models(
    request: Request, task: Task, subsets: Sequence[Subset], progress: Progress, workers: Workers
) -> None:
    """Predict the cases of every model under every subset; a model or case that fails costs no other."""
    if not request.models:
        return
    sets = [each for model in request.models for each in progress.sets.get(model.name, ())]
    total = len(subsets) * sum(len(each.cases) for each in sets)
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
                    stages = list(stages_of(opened))
                    own = _predictable(stages, subsets)
                    predicted = predict_stages(
                        stages,
                        each,
                        own,
                        store,
                        predict=predict,
                        stages_folder=request.output / PREVIOUS_STAGES / model.name,
                        on_more=partial(_expect_more, bar),
                    )
                except Exception as error:  # as before: want of memory, or files that have changed since
                    progress.failures.append(f"{model.name}, fold {each.fold_name}: {reason(error)}")
                    bar.update(len(subsets) * len(each.cases))
                    continue
                bar.update((len(subsets) - len(own)) * len(each.cases))
                weights = progress.weights.setdefault(model.name, {})
                weights.update(opened.fold_fingerprints)
                for stage in stages[1:]:
                    fingerprints = stage.fold_fingerprints.items()
                    weights.update({weights_key(fold, stage.configuration): key for fold, key in fingerprints})
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
