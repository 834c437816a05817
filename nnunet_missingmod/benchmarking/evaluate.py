"""An evaluation from its request to its files: cases, predictions, scores, report, model cards; what fails is named."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, replace

from nnunet_missingmod.benchmarking.costs import find_costs
from nnunet_missingmod.benchmarking.latents import find_latents
from nnunet_missingmod.benchmarking.network_store import save_costs, save_latents, saved_records
from nnunet_missingmod.benchmarking.own_models import check_models, predict_models
from nnunet_missingmod.benchmarking.parts import FOLDER as PARTS
from nnunet_missingmod.benchmarking.parts import (
    Part,
    ReportOptions,
    Rows,
    Shared,
    share_of,
    write_part,
)
from nnunet_missingmod.benchmarking.progress import Progress, channels_of, find_cases, find_outside
from nnunet_missingmod.benchmarking.references import check_references
from nnunet_missingmod.benchmarking.report import Outcome, publish
from nnunet_missingmod.benchmarking.report_options import options_of
from nnunet_missingmod.benchmarking.request import Request, refuse_output_within
from nnunet_missingmod.benchmarking.score_store import FOLDER as SCORED
from nnunet_missingmod.benchmarking.scoring import ToScore, score_all
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.benchmarking.uncertainty import agreement_rows
from nnunet_missingmod.errors import FailedError, UsageError
from nnunet_missingmod.evaluation.agreement import FOLDS, SUBSETS
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import ALL, SUBSET_WORDS, Subset, choose_subsets, subset_name
from nnunet_missingmod.storage import check_output
from nnunet_missingmod.workers import Workers

# Of more, every subset is predicted only where that is asked for: 255 subsets of 8, twice as many of each more.
_MOST_MODALITIES_OF_EVERY_SUBSET = 8


def evaluate(request: Request) -> Outcome:
    """Evaluate the models of a request, or a part of its cases, and write everything into its output folder.

    Predictions that are there already and were made by the same weights from the same images are kept, and so are
    scores of the same predictions. One part of several leaves the report to ``report``.

    Raises:
        UsageError: no model or no case can be used, the models cannot be compared, references hold other values than
            labels, a word for a subset or a region is unknown, a case names no patient, or the output folder cannot be
            written to. Nothing was written.
        FailedError: there is nothing to score, because no case has the modalities of a subset that was asked for.
        OSError: the disk is full, say. Called again, the evaluation goes on.
    """
    progress = Progress()
    task = find_cases(request, progress)
    try:
        subsets = _choose_subsets(request.subset_words, task.modalities)
    except ValueError as error:
        raise UsageError(str(error)) from error
    find_outside(request, task, subsets, progress)
    options = options_of(request, task, subsets, progress.names())
    folders = {file.parent for case in progress.cases().values() for file in (case.reference, *case.files.values())}
    refuse_output_within(request.output, sorted(folders))
    shared = _shared(request, task, subsets, progress)
    if request.parts > 1:
        progress.keep(share_of(shared.cases, request.part, request.parts))
    choices = check_models(request, subsets, progress)
    names = progress.names()
    with Workers(request.jobs) as workers:
        references = check_references(
            list(progress.cases().values()),
            task,
            request.label_map,
            choices=choices,
            workers=workers,
            others_hold_labels=bool(progress.found) or request.parts > 1,
        )
        progress.references = references.usable
        progress.drop(references.refused)
        if not progress.names() and request.parts == 1:
            raise UsageError("\n".join(["There is no case to evaluate on.", *progress.failures]))
        check_output(request.output)
        request.output.mkdir(parents=True, exist_ok=True)
        part = _started(request, shared, options, progress, names)
        write_part(part, request.output)
        progress.warn()
        predict_models(request, task, subsets, progress, workers)
        _take_outside(task, subsets, progress)
        scored = score_all(
            progress.predictions,
            progress.references,
            task,
            label_map=request.label_map,
            tolerance_mm=request.tolerance_mm,
            lesions=request.lesions,
            workers=workers,
            store=request.output / SCORED,
        )
    progress.failures += [
        f"{each.model}, case {each.case} with {subset_name(each.subset, task.modalities)}: {why}"
        for each, why in scored.failed.items()
    ]
    scores = [row for prediction in progress.predictions for row in scored.rows.get(prediction, ())]
    scores += [row for of_model in progress.rows.values() for row in of_model]
    if request.parts == 1:
        progress.failures += _without_scores(request, scores, progress.failures)
    agreed = {FOLDS: progress.fold_agreement, SUBSETS: scored.agreement}
    rows = Rows(scores, agreement_rows(agreed, task, [each for each in progress.predictions if each in scored.rows]))
    if not scores and not progress.failures and request.parts == 1:
        raise FailedError("Nothing could be scored: no case has the modalities of any subset that was asked for.")
    if request.part == 0:
        save_latents(find_latents(request, progress.sets), request.output, [model.name for model in request.models])
        beside_parts = request.output / PARTS
        save_costs(find_costs(request, progress.sets, saved_records(beside_parts)), beside_parts)
    part = replace(part, weights=progress.weights, failures=tuple(dict.fromkeys(progress.failures)), finished=True)
    write_part(part, request.output, rows)
    if request.parts > 1:
        there = f"Part {request.part} of {request.parts} is done: {len(names)} of {len(shared.cases)} cases."
        join_by = (
            "When all parts are, join them by: nnunet_missingmod evaluate "
            f"-o {request.output} --report -num_parts {request.parts}"
        )
        return Outcome([there, join_by], list(part.failures))
    return publish([(part, rows)], request.output)


def _without_scores(request: Request, scores: Sequence[ScoreRow], failures: Sequence[str]) -> list[str]:
    """Return a line for each model of nnU-Net's that would be missed without a word."""
    scored = {row.model for row in scores}
    lost = [model.name for model in request.models if model.name not in scored]
    return [
        f"{name}: nothing could be scored, as no case has a subset that it predicts."
        for name in lost
        if scored and not any(line.startswith((f"{name}:", f"{name},")) for line in failures)
    ]


def _shared(request: Request, task: Task, subsets: Sequence[Subset], progress: Progress) -> Shared:
    """Return what all parts have in common, of all cases: called before those of other parts are left out."""
    folds = {
        model.name: tuple(sorted({str(fold) for each in progress.sets[model.name] for fold in each.folds}))
        for model in request.models
        if model.name in progress.sets
    }
    contents: dict[str, tuple[str, str]] = {}
    scores: dict[str, str] = {}
    if request.parts > 1:
        for model in request.outside:
            with contextlib.suppress(OSError):  # whoever reads them says so
                scores |= {model.name: model.fingerprint()} if model.scores else {}
        for name, case in progress.cases().items():
            with contextlib.suppress(OSError):  # the part whose case it is says so
                contents[name] = case.contents()
    return Shared(
        task=task,
        subsets=tuple(subsets),
        models={model.name: str(model.folder.absolute()) for model in request.models},
        outside={model.name: model.source for model in request.outside},
        tolerance_mm=request.tolerance_mm,
        lesions=request.lesions,
        label_map=request.label_map,
        settings=asdict(request.settings),
        cases=progress.names(),
        folds=folds,
        checkpoint=request.checkpoint_name if request.models else None,
        contents=contents,
        scores=scores,
    )


def _started(
    request: Request, shared: Shared, options: ReportOptions, progress: Progress, names: tuple[str, ...]
) -> Part:
    """Return the part as it is before anything is predicted."""
    cases = progress.cases()
    return Part(
        number=request.part,
        of=request.parts,
        shared=shared,
        options=options,
        command=request.command,
        described=_describe_cases(request, progress),
        notes=_notes(request, progress),
        cases=names,
        files={
            name: (str(min(case.files.items())[1].absolute()), str(case.reference.absolute()))
            for name, case in cases.items()
        },
        predictions={
            model: {
                case: {
                    subset_name(subset, shared.task.modalities): str(file.absolute())
                    for subset, file in of_case.items()
                }
                for case, of_case in found.by_case().items()
                if case in cases
            }
            for model, found in progress.found.items()
        },
        folds_together={
            model.name: tuple(sorted({len(each.folds) for each in progress.sets.get(model.name, ()) if each.cases}))
            for model in request.models
        },
        seen={
            model: tuple(case for case in names if any(case in each.seen for each in of_model))
            for model, of_model in progress.sets.items()
            if any(each.seen for each in of_model)
        },
    )


def _describe_cases(request: Request, progress: Progress) -> str:
    if request.images is not None:
        return f"test folder {request.images.absolute().name}"
    folds = sorted({each.fold_name for sets in progress.sets.values() for each in sets if each.folds})
    if not folds:
        return "those that the files of scores name"
    return f"validation cases of fold {', '.join(folds)}, each predicted by the fold that was not trained on it"


def _notes(request: Request, progress: Progress) -> dict[str, str]:
    """Return what the reader of the scores should know of cases and references, under headings of their own."""
    notes = {
        f"note on {model}": " ".join(dict.fromkeys(note for each in of_model for note in each.notes))
        for model, of_model in progress.sets.items()
        if any(each.notes for each in of_model)
    }
    for model in progress.rows:
        notes[f"note on {model}"] = (
            "Its scores are those of a file: no surface Dice, no volumes; empty masks score what the file says."
        )
    if request.label_map:
        changes = ", ".join(f"{value} as {label}" for value, label in request.label_map.items())
        notes["labels of references"] = f"read {changes} (--map-labels)"
    return notes


def _take_outside(task: Task, subsets: Sequence[Subset], progress: Progress) -> None:
    """Add the predictions of models from outside to those that are scored: of what a case has, no others."""
    asked = set(subsets)
    for model, found in progress.found.items():
        files = found.by_case()
        for of_set in progress.sets[model]:
            for each in of_set.cases:
                has = channels_of(each, task)
                progress.predictions += [
                    ToScore(model, of_set.fold_name, each.case, subset, file, is_outside=True)
                    for subset, file in files.get(each.case, {}).items()
                    if subset in asked and set(subset) <= has
                ]


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
