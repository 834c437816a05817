"""The stages of a cascade under the same subsets: each is given what the one before makes of the subset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from nnunet_missingmod.inference.evaluate_cases import EvaluationSet
from nnunet_missingmod.inference.evaluate_predictions import Predicted
from nnunet_missingmod.inference.evaluate_store import PredictionStore
from nnunet_missingmod.inference.model_files import ModelFolderError
from nnunet_missingmod.inference.model_folder import ModelFolder, open_model_folder
from nnunet_missingmod.modalities import Subset


class PredictSet(Protocol):
    """``predict_set`` with its settings."""

    def __call__(
        self,
        model: ModelFolder,
        cases: EvaluationSet,
        subsets: Sequence[Subset],
        store: PredictionStore,
        *,
        previous: Predicted | None = None,
    ) -> Predicted:
        """Predict the cases with one model."""


def predict_stages(
    model: ModelFolder,
    cases: EvaluationSet,
    subsets: Sequence[Subset],
    store: PredictionStore,
    *,
    predict: PredictSet,
    stages_folder: Path,
    on_more: Callable[[int], object],
) -> Predicted:
    """Predict the cases with the stages that the model's configuration comes after, then with the model.

    Args:
        model, cases, subsets, store, predict: see ``predict_set``.
        stages_folder: keeps the predictions of earlier stages, in a folder each.
        on_more: called with the number of predictions that an earlier stage adds.

    Raises:
        ModelFolderError: an earlier stage has no model beside this one, of the same trainer, plans and folds.
    """
    stage = model.configuration_manager.previous_stage_name
    if stage is None:
        return predict(model, cases, subsets, store)
    on_more(len(cases.cases) * len(subsets))
    previous = predict_stages(
        _open_stage(model, stage),
        cases,
        subsets,
        PredictionStore(stages_folder / stage, store.names, store.file_ending),
        predict=predict,
        stages_folder=stages_folder,
        on_more=on_more,
    )
    return predict(model, cases, subsets, store, previous=previous)


def _open_stage(model: ModelFolder, stage: str) -> ModelFolder:
    folder = model.folder.resolve().parent / f"{model.trainer}__{model.plans['plans_name']}__{stage}"
    if not folder.is_dir():
        raise ModelFolderError(
            f"{model.configuration} needs the predictions of {stage}, and there is no model of it in {folder}: train "
            f"it (nnUNetv2_train {model.plans['dataset_name']} {stage} {model.folds[0]} -tr {model.trainer} "
            f"-p {model.plans['plans_name']}), or put it there."
        )
    try:
        return open_model_folder(folder, folds=model.folds, checkpoint_name=model.checkpoint_name)
    except ModelFolderError as error:
        raise ModelFolderError(f"{model.configuration} needs the predictions of {stage}. {error}") from error
