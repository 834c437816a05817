"""Writes the results of an evaluation: the report with its figures, the models' cards, and lines for the terminal.

It is the last step of ``evaluate``, and all of ``evaluate --report``: no model is loaded, and torch is not imported.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from nnunet_missingmod import __version__
from nnunet_missingmod.benchmarking.cards import write_cards
from nnunet_missingmod.benchmarking.joining import check_shared, join
from nnunet_missingmod.benchmarking.network_store import saved_costs, saved_latents
from nnunet_missingmod.benchmarking.parts import FOLDER as PARTS
from nnunet_missingmod.benchmarking.parts import Part, ReportOptions, Rows, read_parts
from nnunet_missingmod.benchmarking.pictures import draw_cases
from nnunet_missingmod.benchmarking.uncertainty import measure
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.agreement import write_agreement
from nnunet_missingmod.evaluation.conventions import choose_convention
from nnunet_missingmod.evaluation.per_subject import write_per_subject
from nnunet_missingmod.evaluation.prevalence import prevalence_column
from nnunet_missingmod.evaluation.report.cost_section import cost_section
from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.report.model_questions import in_short
from nnunet_missingmod.evaluation.report.reliability import reliability_section
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.report.text import to_markdown
from nnunet_missingmod.evaluation.scores import write_scores
from nnunet_missingmod.modalities import compile_pattern, name_patients, subset_name
from nnunet_missingmod.storage import check_output

logger = logging.getLogger(__name__)

SCORES = "scores.csv"
AGREEMENT = "agreement.csv"
PER_SUBJECT = "per_subject.csv"


@dataclass
class Outcome:
    """What is said at the end: lines on what was measured, and a line on everything that failed."""

    summary: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def report(output: Path, *, parts: int | None, change: Callable[[Part], ReportOptions]) -> Outcome:
    """Join the parts of an evaluation, whatever of them is there, and write scores and report; no model is loaded.

    Args:
        output: the folder of the evaluation.
        parts: into how many it was divided, where there are several divisions in the folder.
        change: returns how the evaluation is to be reported, from what a part was called with.

    Raises:
        UsageError: there is no evaluation, its parts do not belong together, or a changed option does not suit it.
    """
    found = read_parts(output, parts)
    check_shared([part for part, _ in found])
    try:
        changed = [(replace(part, options=change(part)), rows) for part, rows in found]
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_output(output)
    return publish(changed, output)


def publish(parts: Sequence[tuple[Part, Rows]], output: Path) -> Outcome:
    """Join parts and write scores, agreement, report and cards.

    Raises:
        UsageError: the parts do not belong together.
    """
    evaluation, rows = join(parts)
    failures = list(evaluation.failures)
    if not rows.scores:
        return Outcome(["Nothing could be scored."], failures)
    write_scores(rows.scores, output / SCORES)
    write_agreement(rows.agreement, output / AGREEMENT)
    summary = write_evaluation(evaluation, rows, output, failures)
    return Outcome(summary, failures)


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
    baseline = scored[0] if options.baseline is None else options.baseline
    pairs = [(model, baseline) for model in scored if model != baseline]
    if baseline not in scored:
        pairs = []
        if len(scored) > 1:
            failures.append(
                f"{baseline}, the baseline, has no scores, so that nothing is compared with it. Name another: --report "
                f"--baseline {shlex.quote(scored[0])}."
            )
    provenance = {
        "command": evaluation.command,
        "cases": evaluation.described,
        **{f"{model} is from outside": source for model, source in shared.outside.items()},
        **evaluation.notes,
        **_prevalence(evaluation),
        **_margin(evaluation),
        "nnunet_missingmod": __version__,
        "nnunetv2": version("nnunetv2"),
        **{
            f"weights of {model}, fold {fold}": key
            for model, each in evaluation.weights.items()
            for fold, key in each.items()
        },
    }
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
        margin_is_late=options.margin_is_late,
    )
    cards: list[str] = []
    if not shared.models:
        logger.info("No model card: only models of nnU-Net have one.")
    elif len(shared.subsets) < 2 ** len(task.modalities) - 1:
        logger.info("No model card: it needs all subsets.")
    elif evaluation.finished:
        cards, problems = write_cards(evaluation, rows, provenance, patients, convention, uncertainty)
        failures += problems
    else:
        logger.info("No model card: it needs all parts.")
    values = pool(rows, modalities=task.modalities, convention=convention)
    columns = count_columns(task.modalities, scored=values.scored) or subset_columns(
        task.modalities, scored=values.scored
    )
    weighted = (prevalence_column(options.prevalence, task.modalities),) if options.prevalence else ()
    shown = table_of(values, (*columns, *weighted), differences=pairs, patients=patients)
    short = in_short(values, columns[-1], patients=patients)
    return [*to_markdown(shown).splitlines(), "", *short, *cards, f"Report: {page}"]


def _prevalence(evaluation: Part) -> dict[str, str]:
    counts, names = evaluation.options.prevalence, evaluation.shared.task.modalities
    if not counts:
        return {}
    return {"prevalence": ", ".join(f"{subset_name(subset, names)} {count:g}" for subset, count in counts.items())}


def _margin(evaluation: Part) -> dict[str, str]:
    """Return the margin and whether it was given in time, with its heading; empty without a margin."""
    margin, is_late = evaluation.options.margin, evaluation.options.margin_is_late
    if margin is None:
        return {}
    if is_late:
        logger.warning("--margin %g is given after the scores existed, and the report says so.", margin)
    when = "given after the scores existed" if is_late else "given with the first call, before there were scores"
    return {"margin of non-inferiority": f"{margin:g} points of Dice, {when}"}
