"""Writes the results of an evaluation: the report with its figures, the models' cards, and lines for the terminal.

It is the last step of ``evaluate``, and all of ``evaluate --report``: no model is loaded.
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
from numpy.typing import NDArray

from nnunet_missingmod import __version__
from nnunet_missingmod.benchmarking.costs import saved_costs
from nnunet_missingmod.benchmarking.latents import saved_latents
from nnunet_missingmod.benchmarking.parts import FOLDER as PARTS
from nnunet_missingmod.benchmarking.parts import Part, Rows
from nnunet_missingmod.benchmarking.predictions import PredictionSettings
from nnunet_missingmod.benchmarking.store import PredictionStore
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.benchmarking.uncertainty import calibrated, measure
from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE, Convention, choose_convention
from nnunet_missingmod.evaluation.label_maps import relabelled
from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, write_card
from nnunet_missingmod.evaluation.per_subject import write_per_subject
from nnunet_missingmod.evaluation.prevalence import prevalence_column
from nnunet_missingmod.evaluation.report.cost_section import cost_section
from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.report.model_questions import in_short
from nnunet_missingmod.evaluation.report.qualitative import QualitativeCase, qualitative_grid
from nnunet_missingmod.evaluation.report.reliability import Measured, reliability_section
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.report.text import to_markdown
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, compile_pattern, name_patients, subset_name

logger = logging.getLogger(__name__)

_SHOWN_CASES = 3
_SHOWN_MODELS = 3
_SHOWN_SUBSETS = 5
GRID = "figures/cases.png"
PER_SUBJECT = "per_subject.csv"
PREDICTIONS = "predictions"


def write_evaluation(evaluation: Part, measured: Rows, output: Path, failures: list[str]) -> list[str]:
    """Write the report and the cards, and return the lines that tell the user the result and the report's path.

    Args:
        evaluation: its parts joined.
        measured: its scores, and how well the predictions of a case agree.
        output: its folder.
        failures: one message for each failure so far; cards that cannot be written are added.

    Raises:
        ValueError: a case names no patient.
    """
    shared, options, rows = evaluation.shared, evaluation.options, measured.scores
    task = shared.task
    convention, _ = choose_convention(options.convention, task.regions)
    patients = None if options.patients is None else name_patients(shared.cases, compile_pattern(options.patients))
    scored = list(dict.fromkeys(row.model for row in rows))
    baseline = options.baseline if options.baseline in scored else scored[0]
    provenance = {
        "command": evaluation.command,
        "cases": evaluation.described,
        **{f"{model} is from outside": source for model, source in shared.outside.items()},
        **evaluation.notes,
        **_prevalence(evaluation),
        "nnunet_missingmod": __version__,
        "nnunetv2": version("nnunetv2"),
        **{
            f"weights of {model}, fold {fold}": key
            for model, each in evaluation.weights.items()
            for fold, key in each.items()
        },
    }
    pairs = [(model, baseline) for model in scored if model != baseline]
    write_per_subject(rows, output / PER_SUBJECT, convention=convention)
    uncertainty = {
        model: measure(
            [row for row in rows if row.model == model],
            [row for row in measured.agreement if row.model == model],
            convention=convention,
            patients=patients,
            leave_out=evaluation.seen.get(model, ()),
        )
        for model in scored
    }
    further = (
        reliability_section(uncertainty, output),
        cost_section(saved_costs(output / PARTS, scored), baseline, output),
    )
    page = write_report(
        rows,
        output,
        modalities=task.modalities,
        pairs=pairs,
        convention=options.convention,
        patients=patients,
        least_size=options.least_size,
        prevalence=options.prevalence,
        pictures=draw_cases(evaluation, rows, output, convention),
        latents=saved_latents(output, [model for model in shared.models if model in scored]),
        sections=[section for section in further if section is not None],
        provenance=provenance,
        failures=failures,
        margin=options.margin,
    )
    if len(shared.subsets) < 2 ** len(task.modalities) - 1:
        logger.info("No model card: it needs all subsets.")
    elif evaluation.finished:
        failures += _write_cards(evaluation, rows, provenance, patients, convention, uncertainty)
    else:
        logger.info("No model card: it needs all parts.")
    values = pool(rows, modalities=task.modalities, convention=convention)
    columns = count_columns(task.modalities, scored=values.scored) or subset_columns(
        task.modalities, scored=values.scored
    )
    weighted = (prevalence_column(options.prevalence, task.modalities),) if options.prevalence else ()
    shown = table_of(values, (*columns, *weighted), differences=pairs, patients=patients)
    return [*to_markdown(shown).splitlines(), "", *in_short(values, columns[-1], patients=patients), f"Report: {page}"]


def _prevalence(evaluation: Part) -> dict[str, str]:
    counts, names = evaluation.options.prevalence, evaluation.shared.task.modalities
    if not counts:
        return {}
    return {"prevalence": ", ".join(f"{subset_name(subset, names)} {count:g}" for subset, count in counts.items())}


def _write_cards(
    evaluation: Part,
    rows: Sequence[ScoreRow],
    provenance: Mapping[str, str],
    patients: Mapping[str, str] | None,
    convention: Convention,
    uncertainty: Mapping[str, Mapping[str, Measured]],
) -> list[str]:
    """Write a card into each model's folder; return one message for each that could not be written."""
    problems = []
    for model, folder in evaluation.shared.models.items():
        of_model = [row for row in rows if row.model == model]
        if not of_model:
            continue
        card = make_card(
            of_model,
            modalities=evaluation.shared.task.modalities,
            convention=convention,
            patients=patients,
            provenance={
                **{key: value for key, value in provenance.items() if not key.startswith("weights of")},
                "weights": dict(evaluation.weights[model]),
            },
            uncertainty=calibrated(
                uncertainty[model],
                evaluation.folds_together.get(model, ()),
                PredictionSettings(**evaluation.shared.settings),
                regions=list(evaluation.shared.task.regions),
            ),
        )
        path = Path(folder) / FILE_NAME
        try:
            write_card(card, path)
        except OSError as error:
            problems.append(f"{model}: its card cannot be written to {path}: {error}")
    return problems


def draw_cases(
    evaluation: Part, rows: Sequence[ScoreRow], output: Path, convention: Convention
) -> list[tuple[str, Path]]:
    """Draw cases of low, middle and high Dice under the hardest subset of each size; return (caption, file) pairs."""
    task, path = evaluation.shared.task, output / GRID
    # Of a model of which there are scores alone nothing can be drawn.
    drawn = [model for model in dict.fromkeys(row.model for row in rows) if _has_predictions(evaluation, model)]
    drawn = drawn[:_SHOWN_MODELS]
    of_first = [row for row in rows if row.model in drawn[:1] and row.case in evaluation.files]
    if not of_first:
        path.unlink(missing_ok=True)
        return []
    shown = hardest_of_each_size(of_first, evaluation.shared.subsets, task, convention)
    grid = []
    for case in spread_cases(of_first, convention):
        image, reference = map(Path, evaluation.files[case])
        files = {
            (model, subset_name(subset, task.modalities)): _prediction(evaluation, output, model, case, subset)
            for model in drawn
            for subset in shown
        }
        there = {key: file for key, file in files.items() if file is not None and file.is_file()}
        grid.append(QualitativeCase(case=case, image=image, reference=reference, predictions=there))
    try:
        qualitative_grid(
            grid,
            path,
            models=drawn,
            subsets=[subset_name(subset, task.modalities) for subset in shown],
            regions=task.regions,
            ignore_label=task.ignore_label,
            both_empty="nan" if isnan(convention.both_empty[DICE.name]) else "one",
            reader=_Reader(evaluation),
            new_labels=evaluation.shared.label_map,
        )
    except Exception as error:  # files that are gone, or no picture: the tables are there all the same
        logger.warning("No picture of cases: %s", error)
        path.unlink(missing_ok=True)
        return []
    return [(f"Cases of low, middle and high Dice of {drawn[0]}, under its hardest subset of each size", path)]


class _Reader:
    """The dataset's reader, which maps the labels of predictions from outside as ``scoring`` does."""

    def __init__(self, evaluation: Part) -> None:
        self._reader = recursive_find_reader_writer_by_name(evaluation.shared.task.reader)()
        self._label_map = evaluation.shared.label_map
        cases = (of_case for of_model in evaluation.predictions.values() for of_case in of_model.values())
        self._outside = {file for of_case in cases for file in of_case.values()}

    def read_images(self, image_fnames: Sequence[str]) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """As nnU-Net's."""
        images, properties = self._reader.read_images(image_fnames)
        return images, properties

    def read_seg(self, seg_fname: str) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """As nnU-Net's, the labels of predictions from outside mapped."""
        labels, properties = self._reader.read_seg(seg_fname)
        return relabelled(labels, self._label_map if seg_fname in self._outside else {}), properties


def _has_predictions(evaluation: Part, model: str) -> bool:
    return model in evaluation.shared.models or model in evaluation.predictions


def _prediction(evaluation: Part, output: Path, model: str, case: str, subset: Subset) -> Path | None:
    """Return the file of a prediction, or None if there is none."""
    task = evaluation.shared.task
    if model in evaluation.shared.models:
        store = PredictionStore(output / PREDICTIONS / model, task.modalities, task.file_ending)
        return store.file(case, subset)
    file = evaluation.predictions.get(model, {}).get(case, {}).get(subset_name(subset, task.modalities))
    return None if file is None else Path(file)


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
