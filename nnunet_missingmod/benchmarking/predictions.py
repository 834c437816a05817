"""Predicts every case of an evaluation under every subset that it has; an interrupted evaluation continues.

`predict_set` predicts with one model, `predict_stages` with a cascade's stages in turn. ``store`` keeps the files.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits

from nnunet_missingmod import __version__
from nnunet_missingmod.benchmarking.cases import EvaluationCase, EvaluationSet
from nnunet_missingmod.benchmarking.preparation import PreparedCase, prepare_case
from nnunet_missingmod.benchmarking.store import Origin, PredictionSettings, PredictionStore
from nnunet_missingmod.cases.image_file import spacing_file
from nnunet_missingmod.evaluation.agreement import Agreement, pairwise_agreement
from nnunet_missingmod.evaluation.conventions import evaluated_regions
from nnunet_missingmod.inference.all_subsets import SubsetPredictor
from nnunet_missingmod.inference.model_files import ModelFolderError
from nnunet_missingmod.inference.model_folder import ModelFolder, load_predictor, open_model_folder
from nnunet_missingmod.inference.prediction import check_finite
from nnunet_missingmod.modalities import Subset, subset_name
from nnunet_missingmod.storage import file_fingerprint, moved_when_complete
from nnunet_missingmod.workers import Workers

logger = logging.getLogger(__name__)


class Predicted(NamedTuple):
    """The predictions of one model.

    Attributes:
        model: the fingerprint of the model, and those of the stages before it.
        files: {(case, subset): prediction}.
        failed: {case: reason}.
        fold_agreement: {(case, subset): how well the folds agree}, if there are several.
    """

    model: str
    files: dict[tuple[str, Subset], Path]
    failed: dict[str, str]
    fold_agreement: dict[tuple[str, Subset], Agreement]


class _Task(NamedTuple):
    case: EvaluationCase
    origin: Origin
    subsets: list[Subset]
    previous: dict[Subset, Path] | None


class _InFlight(NamedTuple):
    task: _Task
    present: tuple[str, ...]
    exports: list[tuple[Subset, Future[None]]]
    fold_agreement: dict[Subset, Agreement]


def predict_set(
    model: ModelFolder,
    cases: EvaluationSet,
    subsets: Sequence[Subset],
    store: PredictionStore,
    *,
    settings: PredictionSettings,
    device: torch.device,
    workers: Workers,
    on_progress: Callable[[int], object],
    previous: Predicted | None = None,
) -> Predicted:
    """Predict each case under each subset that it has, except for predictions that the store already has.

    A case that fails is listed in the result; the other cases are predicted all the same.

    Args:
        model: opened with the folds of ``cases``.
        on_progress: called with the number of predictions that were completed or turned out to be impossible.
        previous: in a cascade, the previous stage's predictions of the same cases and subsets.
    """
    made_by = model.fingerprint if previous is None else f"{model.fingerprint} after {previous.model}"
    predicted = Predicted(made_by, {}, {}, {})
    tasks: list[_Task] = []
    for case in cases.cases:
        if previous is not None and case.case in previous.failed:
            predicted.failed[case.case] = previous.failed[case.case]
            on_progress(len(subsets))
            continue
        try:
            origin = _origin(made_by, model, case, settings)
        except OSError as error:
            predicted.failed[case.case] = reason(error)
            on_progress(len(subsets))
            continue
        present = store.present(case.case, origin)
        wanted = [s for s in subsets if present is None or {model.modalities[c] for c in s} <= set(present)]
        if previous is not None:
            wanted = [subset for subset in wanted if (case.case, subset) in previous.files]
        usable = store.usable(case.case, origin, wanted)
        predicted.files.update(_files(store, case.case, usable))
        agreed = store.fold_agreement(case.case, origin)
        for subset in usable:
            if (name := subset_name(subset, store.names)) in agreed:
                predicted.fold_agreement[case.case, subset] = agreed[name]
        left = [subset for subset in wanted if subset not in usable]
        on_progress(len(subsets) - len(left))
        if left:
            before = None if previous is None else {subset: previous.files[case.case, subset] for subset in left}
            tasks.append(_Task(case, origin, left, before))
    if not tasks:
        return predicted
    predictor = load_predictor(
        model,
        device=device,
        kind=SubsetPredictor,
        tile_step_size=settings.tile_step_size,
        use_mirroring=settings.mirroring,
    )
    in_flight: deque[_InFlight] = deque()

    def finish(job: _InFlight) -> None:
        case = job.task.case.case
        try:
            for _, export in job.exports:
                export.result()
            done = [subset for subset, _ in job.exports]
            store.record(case, job.task.origin, done, present=job.present, fold_agreement=job.fold_agreement)
        except Exception as error:  # file systems and image libraries raise many kinds of errors
            predicted.failed[case] = reason(error)
        else:
            predicted.files.update(_files(store, case, done))
            predicted.fold_agreement.update({(case, subset): each for subset, each in job.fold_agreement.items()})
        on_progress(len(job.task.subsets))

    with _repeatable():
        for task, preparing in _prepared_ahead(tasks, model, workers):
            try:
                job = _predict_case(task, preparing.result(), model, predictor, store, workers)
            except Exception as error:  # readers raise whatever their libraries raise; so does a GPU
                predicted.failed[task.case.case] = reason(error)
                on_progress(len(task.subsets))
                continue
            in_flight.append(job)
            while len(in_flight) > (0 if workers.at_once == 1 else 1):
                finish(in_flight.popleft())
    while in_flight:
        finish(in_flight.popleft())
    return predicted


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Let cuDNN choose the same algorithms in every run; afterwards its settings and torch's threads are as before.

    nnU-Net lets it choose by timing. Different algorithms round differently, so that two runs could give different
    scores.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    threads = torch.get_num_threads()
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
        torch.set_num_threads(threads)


def export(logits: np.ndarray, properties: dict[str, Any], model: ModelFolder, target: Path, num_threads: int) -> None:
    """Write the segmentation of logits (K, *spatial) in the geometry of the case's files, by nnU-Net's exporter."""
    # Some writers put a second file beside the one that they write: the spacing of a 3-D TIFF file.
    with moved_when_complete(target.parent, last=[target.name]) as temporary:
        export_prediction_from_logits(
            logits,
            properties,
            model.configuration_manager,
            model.plans_manager,
            model.dataset_json,
            str(temporary / target.name).removesuffix(model.file_ending),
            num_threads_torch=num_threads,
        )


def _prepared_ahead(
    tasks: Sequence[_Task], model: ModelFolder, workers: Workers
) -> Iterator[tuple[_Task, Future[PreparedCase]]]:
    """Yield each task with its prepared case; workers prepare the next case meanwhile."""
    without_weights = replace(model, weights=())
    ahead: deque[tuple[_Task, Future[PreparedCase]]] = deque()
    for task in tasks:
        arguments = (task.case.case, task.case.files, task.subsets, task.previous)
        ahead.append((task, workers.submit(prepare_case, without_weights, *arguments)))
        if workers.at_once == 1 or len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead


def _predict_case(
    task: _Task,
    prepared: PreparedCase,
    model: ModelFolder,
    predictor: SubsetPredictor,
    store: PredictionStore,
    workers: Workers,
) -> _InFlight:
    without_weights = replace(model, weights=())
    num_threads = torch.get_num_threads() if workers.at_once == 1 else 1
    exports: list[tuple[Subset, Future[None]]] = []
    agreement: dict[Subset, Agreement] = {}
    regions = evaluated_regions(model.dataset_json)
    for group in prepared.groups:
        data = torch.from_numpy(group.data(len(model.modalities)))
        for subset, logits in predictor.predict_logits_of_subsets(data, group.subsets):
            target = store.file(task.case.case, subset)
            check_finite(logits, task.case.case)
            if len(model.folds) > 1:
                agreement[subset] = pairwise_agreement(predictor.fold_labels[subset], regions)
            exports.append(
                (subset, workers.submit(export, logits.numpy(), group.properties, without_weights, target, num_threads))
            )
    return _InFlight(task, prepared.present, exports, agreement)


def _origin(made_by: str, model: ModelFolder, case: EvaluationCase, settings: PredictionSettings) -> Origin:
    all_settings = {**asdict(settings), "nnunet_missingmod": __version__, "nnunetv2": version("nnunetv2")}
    images = {model.modalities[channel]: file_fingerprint(file) for channel, file in case.files.items()}
    spacing = spacing_file(next(iter(case.files.values())), model.file_ending)
    if spacing is not None:
        images[spacing.name] = file_fingerprint(spacing)
    return Origin(made_by, all_settings, images)


def _files(store: PredictionStore, case: str, subsets: Sequence[Subset]) -> dict[tuple[str, Subset], Path]:
    return {(case, subset): store.file(case, subset) for subset in subsets}


def reason(error: Exception) -> str:
    """Return what went wrong, for the line on a case or a model that failed."""
    if isinstance(error, BrokenProcessPool):
        return "a worker process was killed, perhaps for want of memory: use fewer processes (-np)"
    return str(error).strip() or type(error).__name__


class PredictSet(Protocol):
    """``predict_set`` with settings, device, workers and progress bound."""

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
    stages: Sequence[ModelFolder],
    cases: EvaluationSet,
    subsets: Sequence[Subset],
    store: PredictionStore,
    *,
    predict: PredictSet,
    stages_folder: Path,
    on_more: Callable[[int], object],
) -> Predicted:
    """Predict the cases with the earlier stages of a model's cascade, if it has any, then with the model.

    Args:
        stages: as `stages_of` yields them.
        cases, subsets, store, predict: see ``predict_set``.
        stages_folder: gets a folder with the predictions of each earlier stage.
        on_more: called with the number of predictions that an earlier stage adds.
    """
    model, *earlier = stages
    if not earlier:
        return predict(model, cases, subsets, store)
    on_more(len(cases.cases) * len(subsets))
    previous = predict_stages(
        earlier,
        cases,
        subsets,
        PredictionStore(stages_folder / earlier[0].configuration, store.names, store.file_ending),
        predict=predict,
        stages_folder=stages_folder,
        on_more=on_more,
    )
    return predict(model, cases, subsets, store, previous=previous)


def stages_of(model: ModelFolder) -> Iterator[ModelFolder]:
    """Yield the model, and after it the earlier stages of its cascade, if it is the last of one.

    Raises:
        ModelFolderError: an earlier stage has no model of the same trainer, plans and folds next to this one.
    """
    yield model
    stage = model.configuration_manager.previous_stage_name
    if stage is not None:
        yield from stages_of(_open_stage(model, stage))


def _open_stage(model: ModelFolder, stage: str) -> ModelFolder:
    folder = model.folder.resolve().parent / f"{model.trainer}__{model.plans['plans_name']}__{stage}"
    if not folder.is_dir():
        raise ModelFolderError(
            f"{model.configuration} needs the predictions of {stage}, and there is no model of it in {folder}: train "
            f"it (nnUNetv2_train {model.plans['dataset_name']} {stage} {model.folds[0]} -tr {model.trainer} "
            f"-p {model.plans['plans_name']}), or put it there. If the model is shared as a zip, unzip those of all "
            "stages side by side, into folders of such names, and evaluate that of the last."
        )
    try:
        return open_model_folder(folder, folds=model.folds, checkpoint_name=model.checkpoint_name)
    except ModelFolderError as error:
        raise ModelFolderError(f"{model.configuration} needs the predictions of {stage}. {error}") from error
