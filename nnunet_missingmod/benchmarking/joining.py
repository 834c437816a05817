"""Joins the parts of an evaluation, which ``parts`` reads, into one; parts that do not belong together are refused."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nnunet_missingmod.benchmarking.parts import Part, ReportOptions, Rows, Shared, share_of
from nnunet_missingmod.errors import UsageError, counted, listed
from nnunet_missingmod.evaluation.agreement import KINDS, AgreementRow
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import subset_name

logger = logging.getLogger(__name__)

_SHOWN = 10
# What only one of two parts may know; the others have to be equal.
_COMPARED_WHERE_KNOWN = ("folds", "checkpoint", "contents", "scores")
_IN_WORDS = {"outside": "models that are not nnU-Net's", "tolerance_mm": "tolerance"}
# Options of the report that decide what is counted or shown, and are not to be chosen among unseen.
_DECISIVE = ("patients", "margin")


def join(parts: Sequence[tuple[Part, Rows]]) -> tuple[Part, Rows]:
    """Return the parts of an evaluation as one, and its rows; its failures say what is missing, too.

    The options of the report are those of the first part; a note says which others a part was called with.

    Raises:
        UsageError: the parts are not those of one evaluation, or differ in patients or margin.
    """
    first = parts[0][0]
    check_shared([part for part, _ in parts])
    notes = _check_options([part for part, _ in parts])
    failures = list(dict.fromkeys(line for part, _ in parts for line in part.failures))
    there = {part.number: part for part, _ in parts}
    for number in range(first.of):
        if number not in there or not there[number].finished:
            lacking = share_of(first.shared.cases, number, first.of)
            what = "has not finished" if number in there else "is missing"
            cases = listed(lacking, most=_SHOWN, rest="{} more") or "none"
            again = f"-num_parts {first.of} -part_id {number}"
            its = f"its {counted(len(lacking), 'case')}: {cases}"
            failures.append(f"part {number} of {first.of} {what}; {its}. Run it: {again}.")
    finished = [(part, rows) for part, rows in parts if part.finished]
    weights: dict[str, dict[str, str]] = {}
    for part, _ in finished:
        for model, of_model in part.weights.items():
            for fold, key in of_model.items():
                if weights.setdefault(model, {}).setdefault(fold, key) != key:
                    raise UsageError(
                        f"Fold {fold} of {model} had other weights in part {part.number} than in the parts before "
                        "it: it was trained in between. Run the parts again."
                    )
    joined = replace(
        first,
        number=0,
        command="\n".join(dict.fromkeys(part.command for part, _ in parts)),
        options=replace(first.options, margin_is_late=any(part.options.margin_is_late for part, _ in parts)),
        notes={key: note for part, _ in finished for key, note in part.notes.items()} | notes,
        cases=tuple(case for part, _ in finished for case in part.cases),
        files={case: files for part, _ in finished for case, files in part.files.items()},
        predictions=_merged(part.predictions for part, _ in finished),
        weights=weights,
        folds_together=_united(part.folds_together for part, _ in finished),
        seen=_united(part.seen for part, _ in finished),
        failures=tuple(failures),
        finished=len(finished) == first.of,
    )
    # As if one call had scored them all: by model, then by case.
    order = {model: position for position, model in enumerate([*first.shared.models, *first.shared.outside])}

    def place(row: ScoreRow | AgreementRow) -> tuple[int, str, str]:
        return order.get(row.model, len(order)), row.fold, row.case

    scores = [row for _, of_part in finished for row in of_part.scores]
    agreement = [row for _, of_part in finished for row in of_part.agreement]
    return joined, Rows(
        sorted(scores, key=place), sorted(agreement, key=lambda row: (KINDS.index(row.kind), *place(row)))
    )


def _united(parts: Iterable[Mapping[str, Iterable[Any]]]) -> dict[str, tuple[Any, ...]]:
    """Return for each model what any part has, each once and in ascending order."""
    united: dict[str, set[Any]] = {}
    for part in parts:
        for model, values in part.items():
            united.setdefault(model, set()).update(values)
    return {model: tuple(sorted(values)) for model, values in united.items()}


def _merged(
    parts: Iterable[Mapping[str, Mapping[str, Mapping[str, str]]]],
) -> dict[str, dict[str, Mapping[str, str]]]:
    merged: dict[str, dict[str, Mapping[str, str]]] = {}
    for part in parts:
        for model, cases in part.items():
            merged.setdefault(model, {}).update(cases)
    return merged


def check_shared(parts: Sequence[Part]) -> None:
    """Check that parts are of one evaluation: the same models, folds, files and settings.

    Raises:
        UsageError: they are not; what differs is named.
    """
    first = parts[0]
    for part in parts[1:]:
        differing = _differences(first.shared, part.shared)
        if differing:
            raise UsageError(
                f"Parts {first.number} and {part.number} of {first.of} are not of one evaluation: they differ in "
                f"{', '.join(differing)}. Run one of them again with the arguments of the other, on the same files."
            )


def _differences(one: Shared, other: Shared) -> list[str]:
    """Return in words what differs between what two parts share."""
    ours, theirs = vars(one), vars(other)
    found = [
        _IN_WORDS.get(key, key.replace("_", " "))
        for key, value in ours.items()
        if key not in _COMPARED_WHERE_KNOWN and value != theirs[key]
    ]
    for model, folds in one.folds.items():
        others = other.folds.get(model, folds)
        if folds != others:
            found.append(f"folds of {model} ({'+'.join(folds)} against {'+'.join(others)})")
    if None not in (one.checkpoint, other.checkpoint) and one.checkpoint != other.checkpoint:
        found.append(f"checkpoint ({one.checkpoint} against {other.checkpoint})")
    found += [f"scores of {name}" for name, key in one.scores.items() if other.scores.get(name, key) != key]
    for position, what in enumerate(("images", "references")):
        cases = [
            case
            for case, content in one.contents.items()
            if other.contents.get(case, content)[position] != content[position]
        ]
        if cases:
            found.append(f"{what} of {listed(cases, most=_SHOWN, rest='{} more cases')}")
    return found


def _check_options(parts: Sequence[Part]) -> dict[str, str]:
    """Return a note on the options of the report in which parts differ, with its heading; empty if there are none.

    Raises:
        UsageError: they differ in patients or margin.
    """
    first, told = parts[0], []
    ours = _in_words(first.options, first.shared)
    for part in parts[1:]:
        for option, value in _in_words(part.options, part.shared).items():
            if value == ours[option]:
                continue
            differ = (
                f"Part {first.number} of {first.of} was called with {_called(option, ours[option])}, part "
                f"{part.number} with {_called(option, value)}"
            )
            if option in _DECISIVE:
                late = ", which then counts as given after the scores existed" if option == "margin" else ""
                raise UsageError(
                    f"{differ}. Run one of them again as the other (scores are kept), or say by "
                    f"--report --{option} which is meant{late}."
                )
            told.append(f"{differ}: the report is made as part {first.number} says.")
    for line in told:
        logger.warning("%s Another is chosen by --report and the option.", line)
    return {"note on options": " ".join(told)} if told else {}


def _in_words(options: ReportOptions, shared: Shared) -> dict[str, str | None]:
    """Return the value of each option as it is written on the command line, None where there is none."""
    names = shared.task.modalities
    prevalence = ", ".join(f"{subset_name(subset, names)} {count:g}" for subset, count in options.prevalence.items())
    return {
        "patients": options.patients,
        "margin": None if options.margin is None else f"{options.margin:g}",
        "baseline": options.baseline,
        "convention": options.convention,
        "least-size": " ".join(f"{region}={voxels}" for region, voxels in options.least_size.items()) or None,
        "prevalence": prevalence or None,
    }


def _called(option: str, value: str | None) -> str:
    return f"no --{option}" if value is None else f"--{option} {shlex.quote(value)}"
