"""What is known of an evaluation so far: the cases of every model, what failed, and the predictions and scores it has.

``evaluate`` fills it in: the cases first, which are found here, then predictions, then scores.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

from nnunet_missingmod.benchmarking.cases import EvaluationCase, EvaluationSet, folder_set, test_set, validation_sets
from nnunet_missingmod.benchmarking.named_models import NamedModel, OutsideModel
from nnunet_missingmod.benchmarking.outside import OutsidePredictions, find_predictions
from nnunet_missingmod.benchmarking.references import Reference
from nnunet_missingmod.benchmarking.request import Request
from nnunet_missingmod.benchmarking.scoring import ToScore
from nnunet_missingmod.benchmarking.task import Task, common_task, task_of
from nnunet_missingmod.cases.dataset import DatasetError, find_dataset, read_dataset_json
from nnunet_missingmod.cases.inspection import reader_of
from nnunet_missingmod.errors import UsageError, listed
from nnunet_missingmod.evaluation.agreement import Agreement
from nnunet_missingmod.evaluation.per_subject import read_per_subject
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.model_files import ModelFolderError, read_model_json
from nnunet_missingmod.inference.model_folder import plans_errors_explained
from nnunet_missingmod.modalities import Subset, subset_name

logger = logging.getLogger(__name__)

# nnU-Net's reader of pictures, whose one file may hold all modalities.
_PICTURES = "NaturalImage2DIO"
# Whoever reads one reads the other.
_NIFTI = (".nii.gz", ".nii")
_SHOWN = 10


@dataclass
class Progress:
    """What is known of an evaluation so far.

    Attributes:
        sets: the cases of each model; those of models from outside have no fold.
        tasks: of nnU-Net's models.
        found: the predictions of models from outside.
        rows: the scores of models of which there are scores alone.
        references: that were checked.
        predictions: that are to be scored.
        fold_agreement: of these, where several folds predicted together.
        weights: {model: {`weights_key` of a fold and stage: fingerprint}}.
        failures: a line on everything that failed.
    """

    sets: dict[str, list[EvaluationSet]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    found: dict[str, OutsidePredictions] = field(default_factory=dict)
    rows: dict[str, list[ScoreRow]] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    predictions: list[ToScore] = field(default_factory=list)
    fold_agreement: dict[ToScore, Agreement] = field(default_factory=dict)
    weights: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def cases(self) -> dict[str, EvaluationCase]:
        """Return every case that any model is evaluated on, sorted by name."""
        found = {case.case: case for sets in self.sets.values() for each in sets for case in each.cases}
        return dict(sorted(found.items()))

    def names(self) -> tuple[str, ...]:
        """Return the names of all cases; where there are scores alone, those that they name."""
        return tuple(self.cases()) or tuple(sorted({row.case for rows in self.rows.values() for row in rows}))

    def drop(self, refused: Mapping[str, str]) -> None:
        """Leave out cases of every model; each is a failure, with its reason."""
        self.keep(set(self.names()) - set(refused))
        self.failures += [f"case {case}: {why}" for case, why in refused.items()]

    def keep(self, names: Collection[str]) -> None:
        """Leave out all other cases."""
        for name, sets in self.sets.items():
            self.sets[name] = [
                replace(each, cases=[case for case in each.cases if case.case in names]) for each in sets
            ]
        self.rows = {model: [row for row in rows if row.case in names] for model, rows in self.rows.items()}

    def warn(self) -> None:
        """Say what whoever reads the scores should know."""
        for name, sets in self.sets.items():
            for note in dict.fromkeys(note for each in sets for note in each.notes):
                logger.warning("%s: %s", name, note)
        models = [name for name, sets in self.sets.items() if sets]
        number = Counter(case.case for sets in self.sets.values() for each in sets for case in each.cases)
        some = [case for case, count in number.items() if count < len(models)]
        if some:
            logger.warning(
                "%d of %d cases are not those of every model: comparisons use the others.", len(some), len(number)
            )


def find_cases(request: Request, progress: Progress) -> Task:
    """Find the cases of every model, and what models from outside have of them; return what the models have in common.

    Raises:
        UsageError: no model can be used, or they cannot be compared.
    """
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
    if not progress.tasks and request.models:
        raise UsageError("\n".join(progress.failures))
    try:
        task = common_task(progress.tasks) if request.models else _task_without_model(request)
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


def _task_without_model(request: Request) -> Task:
    """Return what a dataset.json says, where no model does.

    Raises:
        UsageError: none is named, none lies beside the cases, or it cannot be used.
    """
    beside = [path for path in (request.references, request.images) if path is not None]
    beside += [file.parent for model in request.outside for file in model.scores]
    places = list(dict.fromkeys(place for path in beside for place in (path, path.absolute().parent)))
    if request.dataset is not None:
        folder = find_dataset(request.dataset)
    else:
        with_description = [place for place in places if (place / "dataset.json").is_file()]
        if not with_description:
            raise DatasetError(
                "Without a model of nnU-Net's, a dataset.json says what modalities and labels are (channel_names, "
                "labels "
                "and file_ending): name its dataset by -d (id, name or folder), or put it beside the references. There "
                f"is none in {listed(places)}."
            )
        folder = with_description[0]
    content = read_dataset_json(folder)
    task = task_of(content, {"image_reader_writer": ""})
    images = request.images
    files = sorted(images.glob(f"*{task.file_ending}")) if images is not None else []
    return replace(task, reader=type(reader_of(folder, content, files)).__name__)


def find_outside(request: Request, task: Task, subsets: Sequence[Subset], progress: Progress) -> None:
    """Find the predictions and scores of models from outside; what they lack is a failure, by name.

    Raises:
        UsageError: there are no models of nnU-Net's, and none of these can be used.
    """
    own = progress.cases()
    shared: EvaluationSet | None = None
    if not own and request.images is not None and request.references is not None:
        try:
            shared = folder_set(request.images, request.references, task.modalities, task.file_ending)
        except OSError as error:
            raise UsageError(str(error)) from error
        progress.failures += [f"case {case}: {why}" for case, why in shared.refused.items()]
    cases = list(own.values()) if shared is None else shared.cases
    for model in request.outside:
        try:
            if model.predictions is not None:
                progress.found[model.name] = _predictions_of(model, model.predictions, request, task, cases)
                notes = (*(shared.notes if shared is not None else ()), *progress.found[model.name].notes)
                progress.sets[model.name] = [EvaluationSet((), cases, {}, notes)]
                progress.failures += [f"{model.name}: {each}" for each in progress.found[model.name].problems]
                progress.failures += _lacking(model.name, progress.found[model.name], task, subsets, cases)
            else:
                _add_scores(model, request, task, subsets, progress, {case.case for case in cases})
        except ValueError as error:
            progress.failures.append(f"{model.name}: {error}")
    progress.failures += _lacking_scores(progress, task, subsets)
    if not progress.sets and not progress.rows:
        raise UsageError("\n".join(progress.failures))


def _predictions_of(
    model: OutsideModel, folder: Path, request: Request, task: Task, cases: Sequence[EvaluationCase]
) -> OutsidePredictions:
    supported = recursive_find_reader_writer_by_name(task.reader).supported_file_endings
    return find_predictions(
        folder,
        {case.case for case in cases},
        task.modalities,
        endings=list(dict.fromkeys([task.file_ending, *supported, *(_NIFTI if task.file_ending in _NIFTI else ())])),
        pattern=request.pattern,
    )


def channels_of(case: EvaluationCase, task: Task) -> set[int]:
    """Return the modalities that a case has; of a picture in one file, all."""
    in_one_file = task.reader == _PICTURES and list(case.files) == [0]
    return set(range(len(task.modalities))) if in_one_file else set(case.files)


def _lacking(
    name: str, found: OutsidePredictions, task: Task, subsets: Sequence[Subset], cases: Sequence[EvaluationCase]
) -> list[str]:
    """Return a line on each subset that has no prediction at all, and on each case that lacks others."""
    expected = {case.case: [s for s in subsets if set(s) <= channels_of(case, task)] for case in cases}
    wanted = dict.fromkeys(subset for of_case in expected.values() for subset in of_case)
    there = {subset for case, subset in found.files if case in expected}
    nowhere = [subset for subset in wanted if subset not in there]
    lines = []
    if nowhere:
        named = listed([subset_name(subset, task.modalities) for subset in nowhere], most=_SHOWN, rest="{} more")
        lines.append(f"{name} has no prediction of any case with {named}; --subsets says which to evaluate.")
    for case, of_case in expected.items():
        absent = [s for s in of_case if (case, s) not in found.files and s not in nowhere]
        if absent:
            named = listed([subset_name(subset, task.modalities) for subset in absent], most=_SHOWN, rest="{} more")
            lines.append(f"{name}, case {case}: there is no prediction with {named}.")
    return lines


def _add_scores(
    model: OutsideModel,
    request: Request,
    task: Task,
    subsets: Sequence[Subset],
    progress: Progress,
    cases: Collection[str],
) -> None:
    """Read the scores of a model; those of other cases and subsets are left out."""
    rows: list[ScoreRow] = []
    for file in model.scores:
        found = read_per_subject(
            file,
            model=model.name,
            fold=file.stem if len(model.scores) > 1 else "",
            named=(model.given_name, model.name),
            regions=list(task.regions),
            modalities=task.modalities,
            tolerance_mm=request.tolerance_mm,
        )
        rows += found.rows
        for note in found.notes:
            logger.warning("%s: %s", model.name, note)
    asked = {subset_name(subset, task.modalities) for subset in subsets}
    there = dict.fromkeys(row.case for row in rows)
    others = [case for case in there if cases and case not in cases]
    kept = [row for row in rows if row.subset in asked and (not cases or row.case in cases)]
    if not kept:
        raise ValueError(
            f"its scores are of none of the evaluated cases and subsets; they are of {listed(list(there))}."
        )
    progress.rows[model.name] = kept
    if others:
        logger.warning("%s: scores of cases that are not evaluated: %s.", model.name, listed(others))


def _lacking_scores(progress: Progress, task: Task, subsets: Sequence[Subset]) -> list[str]:
    """Return a line on each subset that a file of scores has of no case, and on the cases that lack others.

    A case has the modalities of its files, and those with which any file of scores has it.
    """
    names = {subset_name(subset, task.modalities): subset for subset in subsets}
    has = {case.case: channels_of(case, task) for case in progress.cases().values()}
    for rows in progress.rows.values():
        for row in rows:
            has.setdefault(row.case, set()).update(names[row.subset])
    expected = {
        case: [name for name, subset in names.items() if set(subset) <= of_case] for case, of_case in has.items()
    }
    lines = []
    for model, rows in progress.rows.items():
        there = {(row.case, row.subset) for row in rows}
        scored, of_cases = {subset for _, subset in there}, {case for case, _ in there}
        nowhere = [name for name in names if name not in scored]
        if nowhere:
            named = listed(nowhere, most=_SHOWN, rest="{} more")
            lines.append(f"{model} has no scores with {named}; --subsets says which to evaluate.")
        absent = sorted(has.keys() - of_cases)
        if absent:
            lines.append(f"{model}: there are no scores of {listed(absent, most=_SHOWN, rest='{} more cases')}.")
        lacking: dict[str, list[str]] = {}
        for case in sorted(of_cases):
            for name in expected[case]:
                if name in scored and (case, name) not in there:
                    lacking.setdefault(name, []).append(case)
        lines += [
            f"{model}: there are no scores with {name} of {listed(cases, most=_SHOWN, rest='{} more cases')}."
            for name, cases in lacking.items()
        ]
    return lines
