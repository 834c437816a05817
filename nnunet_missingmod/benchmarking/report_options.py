"""How an evaluation is reported, from its request or changed afterwards by ``evaluate --report``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunet_missingmod.benchmarking.named_models import MARK
from nnunet_missingmod.benchmarking.parts import Part, ReportOptions, margin_is_late
from nnunet_missingmod.benchmarking.request import Request, least_size_of, margin_of
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.prevalence import check_prevalence
from nnunet_missingmod.modalities import Subset, compile_pattern, name_patients
from nnunet_missingmod.prevalence import read_prevalence

# What --report takes; everything else is about predictions and scores, which it does not make.
_TAKEN = frozenset(
    {
        "output",
        "report",
        "num_parts",
        "baseline",
        "convention",
        "least_size",
        "patients",
        "prevalence",
        "margin",
        "verbose",
    }
)
# Options that are not spelled as they are called in ``args``.
_SPELLED = {"positional": "model", "disable_tta": "--disable_tta"}


def check_options(options: ReportOptions, task: Task, subsets: Sequence[Subset], cases: Sequence[str]) -> None:
    """Check that scores of these cases and subsets can be reported so.

    Raises:
        ValueError: a region is unknown, a case names no patient, or the prevalence is of subsets that are not
            evaluated.
    """
    if options.patients is not None:
        name_patients(cases, compile_pattern(options.patients))
    for region in options.least_size:
        if region not in task.regions:
            raise ValueError(f"--least-size: there is no region {region!r}, only {', '.join(task.regions)}.")
    check_prevalence(options.prevalence, subsets, task.modalities)


def _counts(file: Path, modalities: Sequence[str]) -> dict[Subset, float]:
    """Return how often each subset occurs, of those that do."""
    return {subset: count for subset, count in read_prevalence(file, modalities).items() if count}


def options_of(request: Request, task: Task, subsets: Sequence[Subset], cases: Sequence[str]) -> ReportOptions:
    """Return how the scores of a request are to be reported.

    Raises:
        UsageError: as `check_options`, or its file of prevalence cannot be read.
    """
    try:
        prevalence = {} if request.prevalence is None else _counts(request.prevalence, task.modalities)
        options = ReportOptions(
            baseline=request.baseline,
            convention=request.convention,
            least_size=request.least_size,
            patients=None if request.patient_pattern is None else request.patient_pattern.pattern,
            prevalence=prevalence,
            margin=request.margin,
            margin_is_late=request.margin is not None
            and margin_is_late(
                request.output, request.margin, takes_scores=any(model.scores for model in request.outside)
            ),
        )
        check_options(options, task, subsets, cases)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return options


def check_report_arguments(args: argparse.Namespace, defaults: Mapping[str, Any]) -> None:
    """Check that ``--report`` is asked for nothing that needs predictions or scores anew.

    Args:
        args: of the command line.
        defaults: of each argument, what it is if it is not given.

    Raises:
        UsageError: it is. An argument that is given as its default is not told from one that is not given.
    """
    given = [name for name, value in vars(args).items() if name not in _TAKEN and value != defaults[name]]
    if given:
        options = [_SPELLED.get(name, f"--{name.replace('_', '-')}") for name in given]
        raise UsageError(
            f"--report makes the report of what is in -o anew, and takes no {', '.join(options)}: leave it out, or "
            "evaluate without --report."
        )


def changed_options(args: argparse.Namespace, part: Part) -> ReportOptions:
    """Return how an evaluation was to be reported, with what the arguments of ``--report`` change.

    Raises:
        ValueError: as `check_options`, a model is unknown, or a file of prevalence cannot be read.
    """
    shared, options = part.shared, part.options
    if args.baseline is not None:
        names = [*shared.models, *shared.outside]
        found = [name for name in (args.baseline, f"{args.baseline}{MARK}") if name in names]
        if not found:
            raise UsageError(f"--baseline {args.baseline!r} is none of the models: {', '.join(names)}.")
        options = replace(options, baseline=found[0])
    if args.convention is not None:
        options = replace(options, convention=args.convention)
    if args.least_size is not None:
        options = replace(options, least_size=least_size_of(args.least_size))
    if args.patients is not None:
        options = replace(options, patients=compile_pattern(args.patients).pattern)
    if args.prevalence is not None:
        options = replace(options, prevalence=_counts(args.prevalence, shared.task.modalities))
    if args.margin is not None:
        margin = margin_of(args.margin, models=len(shared.models) + len(shared.outside))
        # A report is made of scores that are there.
        is_late = options.margin_is_late if margin == options.margin else True
        options = replace(options, margin=margin, margin_is_late=is_late)
    check_options(options, shared.task, shared.subsets, shared.cases)
    return options
