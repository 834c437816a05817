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

from nnunet_missingmod import __version__
from nnunet_missingmod.benchmarking.cases import EvaluationSet
from nnunet_missingmod.benchmarking.latents import model_latents
from nnunet_missingmod.benchmarking.request import Request, Task
from nnunet_missingmod.benchmarking.scoring import ToScore
from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import CONVENTIONS, DICE
from nnunet_missingmod.evaluation.modality_gap import Latents
from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, write_card
from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.report.qualitative import QualitativeCase, qualitative_grid
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.report.text import to_markdown
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.modalities import Subset, all_subsets, subset_name

logger = logging.getLogger(__name__)

_SHOWN_CASES = 3
_SHOWN_MODELS = 3
_SHOWN_SUBSETS = 5
_LATENT_CASES = 4
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
    scored = list(dict.fromkeys(row.model for row in rows))
    baseline = request.baseline if request.baseline in scored else scored[0]
    provenance = {
        "command": request.command,
        "cases": _describe_cases(request, sets),
        "nnunet_missingmod": __version__,
        "nnunetv2": version("nnunetv2"),
        **{f"weights of {model}, fold {fold}": key for model, each in weights.items() for fold, key in each.items()},
    }
    pairs = [(model, baseline) for model in scored if model != baseline]
    pictures = draw_cases(request, task, subsets, rows, predictions, sets)
    page = write_report(
        rows,
        request.output,
        modalities=task.modalities,
        pairs=pairs,
        convention=CONVENTIONS[request.convention],
        patients=patients,
        least_size=request.least_size,
        pictures=pictures,
        latents=find_latents(request, scored, sets),
        provenance=provenance,
        failures=failures,
    )
    if len(subsets) == len(all_subsets(len(task.modalities))):
        failures += _write_cards(request, task, rows, weights, provenance, patients)
    else:
        logger.info("No model card: it needs all subsets.")
    values = pool(rows, modalities=task.modalities, convention=CONVENTIONS[request.convention])
    columns = count_columns(task.modalities, scored=values.scored) or subset_columns(
        task.modalities, scored=values.scored
    )
    shown = table_of(values, columns, differences=pairs, patients=patients)
    return [*to_markdown(shown).splitlines(), "", f"Report: {page}"]


def _describe_cases(request: Request, sets: Mapping[str, Sequence[EvaluationSet]]) -> str:
    if request.images is not None:
        return f"test folder {request.images}"
    folds = sorted({each.fold_name for of_model in sets.values() for each in of_model})
    return f"validation cases of fold {', '.join(folds)}, each predicted by the fold that was not trained on it"


def _write_cards(
    request: Request,
    task: Task,
    rows: Sequence[ScoreRow],
    weights: Mapping[str, Mapping[str, str]],
    provenance: Mapping[str, Any],
    patients: Mapping[str, str] | None,
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
            convention=CONVENTIONS[request.convention],
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
            latents = model_latents(opened, first.cases, device=request.device, most_cases=_LATENT_CASES)
        except (ValueError, RuntimeError) as error:  # a network without encoder; a case that was refused before
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
) -> list[tuple[str, Path]]:
    """Draw cases of low, middle and high Dice under the hardest subset of each size; return (caption, file) pairs."""
    files = {(each.case, each.model, each.subset): each.file for each in predictions}
    models = list(dict.fromkeys(row.model for row in rows))[:_SHOWN_MODELS]
    of_first = [row for row in rows if row.model == models[0]]
    shown_subsets = hardest_of_each_size(of_first, subsets, task)
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
        for case in spread_cases(of_first, request.convention)
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
        )
    except ValueError as error:  # an image is not a volume (a colour photograph, for example)
        logger.warning("No picture of cases: %s", error)
        return []
    return [(f"Cases of low, middle and high Dice of {models[0]}, under its hardest subset of each size", path)]


def _mean_dice(rows: Sequence[ScoreRow], convention: str) -> float:
    values = [CONVENTIONS[convention].value(row, DICE) for row in rows]
    defined = [value for value in values if not isnan(value)]
    return fmean(defined) if defined else nan


def hardest_of_each_size(rows: Sequence[ScoreRow], subsets: Sequence[Subset], task: Task) -> list[Subset]:
    """Return the subset of lowest mean Dice of each size; if there are too many sizes to show, of some of them."""
    of_subset: defaultdict[str, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        of_subset[row.subset].append(row)
    hardest: dict[int, tuple[float, Subset]] = {}
    for subset in subsets:
        mean = _mean_dice(of_subset[subset_name(subset, task.modalities)], "brats")
        if not isnan(mean) and (len(subset) not in hardest or mean < hardest[len(subset)][0]):
            hardest[len(subset)] = (mean, subset)
    sizes = sorted(hardest)
    kept = {sizes[round(index * (len(sizes) - 1) / (_SHOWN_SUBSETS - 1))] for index in range(_SHOWN_SUBSETS)}
    return [hardest[size][1] for size in sorted(kept)]


def spread_cases(rows: Sequence[ScoreRow], convention: str) -> list[str]:
    """Return the cases at the quartiles of mean Dice, among those that have every region, or among all if none has."""
    of_case: defaultdict[str, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        of_case[row.case].append(row)
    eligible = {case: each for case, each in of_case.items() if all(row.reference_voxels for row in each)} or of_case
    ranked = sorted(eligible, key=lambda case: (_mean_dice(eligible[case], convention), case))
    quartiles = [round(share * (len(ranked) - 1)) for share in (0.25, 0.5, 0.75)]
    return [ranked[position] for position in dict.fromkeys(quartiles)][:_SHOWN_CASES]
