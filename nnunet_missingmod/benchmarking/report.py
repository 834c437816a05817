"""Writes the results of an evaluation: the report with its figures, the models' cards, and lines for the terminal.

It is the last step of ``evaluate``.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import Any

from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

from nnunet_missingmod import __version__
from nnunet_missingmod.benchmarking.cases import EvaluationSet
from nnunet_missingmod.benchmarking.latents import VOXELS_PER_CASE, model_latents
from nnunet_missingmod.benchmarking.request import Request, Task
from nnunet_missingmod.benchmarking.scoring import ToScore
from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE, Convention, choose_convention
from nnunet_missingmod.evaluation.modality_gap import Latents
from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, write_card
from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.report.model_questions import in_short
from nnunet_missingmod.evaluation.report.qualitative import QualitativeCase, qualitative_grid
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.report.text import to_markdown
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.modalities import Subset, subset_name

logger = logging.getLogger(__name__)

_SHOWN_CASES = 3
_SHOWN_MODELS = 3
_SHOWN_SUBSETS = 5
_LATENT_CASES = 4
# Points of the t-SNE figure, whose time grows with them: 200 voxels of each case at four modalities.
_LATENT_POINTS = 3200
GRID = "figures/cases.png"


def write_evaluation(
    request: Request,
    task: Task,
    subsets: Sequence[Subset],
    rows: Sequence[ScoreRow],
    predictions: Sequence[ToScore],
    sets: Mapping[str, Sequence[EvaluationSet]],
    weights: Mapping[str, Mapping[str, str]],
    failures: list[str],
    *,
    patients: Mapping[str, str] | None = None,
) -> list[str]:
    """Write the report and the cards, and return the lines that tell the user the result and the report's path.

    Args:
        request, task, subsets: what the user requested.
        rows: the scores.
        predictions: the predictions that were scored.
        sets: the cases of each model.
        weights: {model: {fold: fingerprint}}.
        failures: one message for each failure so far; cards that cannot be written are added.
        patients: the patient of each case; by default each case is one.
    """
    convention, _ = choose_convention(request.convention, task.regions)
    scored = list(dict.fromkeys(row.model for row in rows))
    baseline = request.baseline if request.baseline in scored else scored[0]
    provenance = {
        "command": request.command,
        "cases": _describe_cases(request, sets),
        **_notes(request, sets),
        "nnunet_missingmod": __version__,
        "nnunetv2": version("nnunetv2"),
        **{f"weights of {model}, fold {fold}": key for model, each in weights.items() for fold, key in each.items()},
    }
    pairs = [(model, baseline) for model in scored if model != baseline]
    pictures = draw_cases(request, task, subsets, rows, predictions, sets, convention)
    page = write_report(
        rows,
        request.output,
        modalities=task.modalities,
        pairs=pairs,
        convention=request.convention,
        patients=patients,
        least_size=request.least_size,
        pictures=pictures,
        latents=find_latents(request, scored, sets),
        provenance=provenance,
        failures=failures,
        margin=request.margin,
    )
    if len(subsets) == 2 ** len(task.modalities) - 1:
        failures += _write_cards(request, task, rows, weights, provenance, patients, convention)
    else:
        logger.info("No model card: it needs all subsets.")
    values = pool(rows, modalities=task.modalities, convention=convention)
    columns = count_columns(task.modalities, scored=values.scored) or subset_columns(
        task.modalities, scored=values.scored
    )
    shown = table_of(values, columns, differences=pairs, patients=patients)
    return [*to_markdown(shown).splitlines(), "", *in_short(values, columns[-1], patients=patients), f"Report: {page}"]


def _describe_cases(request: Request, sets: Mapping[str, Sequence[EvaluationSet]]) -> str:
    if request.images is not None:
        return f"test folder {request.images}"
    folds = sorted({each.fold_name for of_model in sets.values() for each in of_model})
    return f"validation cases of fold {', '.join(folds)}, each predicted by the fold that was not trained on it"


def _notes(request: Request, sets: Mapping[str, Sequence[EvaluationSet]]) -> dict[str, str]:
    """Return what the reader of the scores should know of cases and references, under headings of their own."""
    notes = {
        f"note on {model}": " ".join(dict.fromkeys(note for each in of_model for note in each.notes))
        for model, of_model in sets.items()
        if any(each.notes for each in of_model)
    }
    if request.label_map:
        changes = ", ".join(f"{value} as {label}" for value, label in request.label_map.items())
        notes["labels of references"] = f"read {changes} (--map-labels)"
    return notes


def _write_cards(
    request: Request,
    task: Task,
    rows: Sequence[ScoreRow],
    weights: Mapping[str, Mapping[str, str]],
    provenance: Mapping[str, Any],
    patients: Mapping[str, str] | None,
    convention: Convention,
) -> list[str]:
    """Write a card into each model's folder; return one message for each that could not be written."""
    problems = []
    for model in request.models:
        of_model = [row for row in rows if row.model == model.name]
        if not of_model:
            continue
        card = make_card(
            of_model,
            modalities=task.modalities,
            convention=convention,
            patients=patients,
            provenance={
                **{key: value for key, value in provenance.items() if not key.startswith("weights of")},
                "weights": dict(weights[model.name]),
            },
        )
        try:
            write_card(card, model.folder / FILE_NAME)
        except OSError as error:
            problems.append(f"{model.name}: its card cannot be written to {model.folder / FILE_NAME}: {error}")
    return problems


def find_latents(
    request: Request, models: Sequence[str], sets: Mapping[str, Sequence[EvaluationSet]]
) -> dict[str, Latents]:
    """Return the latents of each model that has any, from the first cases of its first fold."""
    found = {}
    for model in request.models:
        if model.name not in models:
            continue
        first = sets[model.name][0]
        try:
            opened = open_model_folder(model.folder, folds=first.folds[:1], checkpoint_name=request.checkpoint_name)
            latents = model_latents(
                opened,
                first.cases,
                device=request.device,
                most_cases=_LATENT_CASES,
                voxels_per_case=min(VOXELS_PER_CASE, _LATENT_POINTS // (_LATENT_CASES * len(opened.modalities)) + 1),
            )
        except Exception as error:  # a network without encoder, want of memory: the scores are there all the same
            logger.warning("No latents of %s: %s", model.name, error)
            continue
        if latents is not None:
            found[model.name] = latents
    return found


def draw_cases(
    request: Request,
    task: Task,
    subsets: Sequence[Subset],
    rows: Sequence[ScoreRow],
    predictions: Sequence[ToScore],
    sets: Mapping[str, Sequence[EvaluationSet]],
    convention: Convention,
) -> list[tuple[str, Path]]:
    """Draw cases of low, middle and high Dice under the hardest subset of each size; return (caption, file) pairs."""
    files = {(each.case, each.model, each.subset): each.file for each in predictions}
    models = list(dict.fromkeys(row.model for row in rows))[:_SHOWN_MODELS]
    of_first = [row for row in rows if row.model == models[0]]
    shown_subsets = hardest_of_each_size(of_first, subsets, task, convention)
    images = {case.case: min(case.files.items())[1] for each in sets[models[0]] for case in each.cases}
    references = {case.case: case.reference for each in sets[models[0]] for case in each.cases}
    grid = [
        QualitativeCase(
            case=case,
            image=images[case],
            reference=references[case],
            predictions={
                (model, subset_name(subset, task.modalities)): files[case, model, subset]
                for model in models
                for subset in shown_subsets
                if (case, model, subset) in files
            },
        )
        for case in spread_cases(of_first, convention)
    ]
    path = request.output / GRID
    try:
        qualitative_grid(
            grid,
            path,
            models=models,
            subsets=[subset_name(subset, task.modalities) for subset in shown_subsets],
            regions=task.regions,
            ignore_label=task.ignore_label,
            both_empty="nan" if isnan(convention.both_empty[DICE.name]) else "one",
            reader=recursive_find_reader_writer_by_name(task.reader)(),
            new_labels=request.label_map,
        )
    except ValueError as error:
        logger.warning("No picture of cases: %s", error)
        return []
    return [(f"Cases of low, middle and high Dice of {models[0]}, under its hardest subset of each size", path)]


def _mean_dice(rows: Sequence[ScoreRow], convention: Convention) -> float:
    values = [convention.value(row, DICE) for row in rows]
    defined = [value for value in values if not isnan(value)]
    return fmean(defined) if defined else nan


def hardest_of_each_size(
    rows: Sequence[ScoreRow], subsets: Sequence[Subset], task: Task, convention: Convention
) -> list[Subset]:
    """Return the subset of lowest mean Dice of each size; if there are too many sizes to show, of some of them."""
    of_subset: defaultdict[str, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        of_subset[row.subset].append(row)
    hardest: dict[int, tuple[float, Subset]] = {}
    for subset in subsets:
        mean = _mean_dice(of_subset[subset_name(subset, task.modalities)], convention)
        if not isnan(mean) and (len(subset) not in hardest or mean < hardest[len(subset)][0]):
            hardest[len(subset)] = (mean, subset)
    sizes = sorted(hardest)
    kept = {sizes[round(index * (len(sizes) - 1) / (_SHOWN_SUBSETS - 1))] for index in range(_SHOWN_SUBSETS)}
    return [hardest[size][1] for size in sorted(kept)]


def spread_cases(rows: Sequence[ScoreRow], convention: Convention) -> list[str]:
    """Return the cases at the quartiles of mean Dice, among those that have every region, or among all if none has."""
    of_case: defaultdict[str, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        of_case[row.case].append(row)
    eligible = {case: each for case, each in of_case.items() if all(row.reference_voxels for row in each)} or of_case
    ranked = sorted(eligible, key=lambda case: (_mean_dice(eligible[case], convention), case))
    quartiles = [round(share * (len(ranked) - 1)) for share in (0.25, 0.5, 0.75)]
    return [ranked[position] for position in dict.fromkeys(quartiles)][:_SHOWN_CASES]
