"""An evaluation in parts, which share its cases: what each leaves in the folder; ``joining`` makes one of them.

Each part, such as one job of an array, writes files of its own: ``parts/part_0_of_4.csv`` with its scores,
``part_0_of_4_agreement.csv`` with how well its predictions agree, and a JSON file with everything else that the report
needs. A whole evaluation is one part of one. The report is made
from these files alone, with no model and no prediction scored again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.errors import UsageError, listed
from nnunet_missingmod.evaluation.agreement import AgreementRow, read_agreement, write_agreement
from nnunet_missingmod.evaluation.conventions import AUTO
from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores, write_scores
from nnunet_missingmod.modalities import Subset, choose_subset, subset_name
from nnunet_missingmod.storage import read_json_object, write_text

FOLDER = "parts"
_FILE = re.compile(r"part_([0-9]+)_of_([0-9]+)\.json")
_FORMAT = 1


@dataclass(frozen=True)
class ReportOptions:
    """How scores are reported. Nothing has to be scored again if one of these changes.

    Attributes:
        baseline: the model that the others are compared with; None for the first.
        convention: name of what empty masks score in the main tables.
        least_size: {region: voxels} for the rule of small regions.
        patients: regular expression of the patient in a case's name, or None.
        prevalence: {subset: count} for the weighted mean, or empty.
        margin: of non-inferiority on complete cases, in points of Dice, or None.
        margin_is_late: whether scores existed when this margin was first given; see `margin_is_late`.
    """

    baseline: str | None = None
    convention: str = AUTO
    least_size: Mapping[str, int] = field(default_factory=dict)
    patients: str | None = None
    prevalence: Mapping[Subset, float] = field(default_factory=dict)
    margin: float | None = None
    margin_is_late: bool = False


@dataclass(frozen=True)
class Shared:
    """What all parts of one evaluation have in common.

    Parts of earlier versions know no folds, checkpoint, contents and scores, and a part knows none of a model or file
    that it could not read.

    Attributes:
        task: modalities, regions and labels.
        subsets: that are evaluated.
        models: {name: folder} of nnU-Net's models.
        outside: {name: where its scores come from} of the others.
        tolerance_mm: of the surface Dice.
        label_map: {value in the references: label that it stands for}.
        settings: of the predictions.
        cases: the names of all.
        lesions: whether lesions are counted.
        folds: {model: its folds that predict, in ascending order} of nnU-Net's models.
        checkpoint: name of the file in each fold's folder; None without a model of nnU-Net's.
        contents: {case: (fingerprint of its images, of its reference)}, of samples: see ``EvaluationCase``.
        scores: {model: fingerprint of its files of scores} of the others of which there are scores alone.
    """

    task: Task
    subsets: tuple[Subset, ...]
    models: Mapping[str, str]
    outside: Mapping[str, str]
    tolerance_mm: float
    label_map: Mapping[int, int]
    settings: Mapping[str, Any]
    cases: tuple[str, ...]
    lesions: bool = False
    folds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    checkpoint: str | None = None
    contents: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What one part leaves beside its scores; several that are joined are one.

    Attributes:
        number, of: which part it is, from 0, and of how many.
        shared, options: of the whole evaluation.
        command: as it was called.
        described: which cases these are, in words.
        notes: {heading: sentence} for the reader of the scores.
        cases: of this part.
        files: {case: (an image, its reference)} of the cases of this part that could be scored.
        predictions: {model from outside: {case: {subset name: file}}}.
        weights: {model: {`weights_key` of a fold and stage: fingerprint}}.
        folds_together: {model: how many folds predicted a case together}, in ascending order if that differs.
        seen: {model: cases of this part that it may have been trained on}.
        failures: a line on everything that failed.
        finished: whether it came to its end.
    """

    number: int
    of: int
    shared: Shared
    options: ReportOptions
    command: str
    described: str
    notes: Mapping[str, str]
    cases: tuple[str, ...]
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    predictions: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    folds_together: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    finished: bool = False


class Rows(NamedTuple):
    """What was measured: scores, and how well the predictions of a case agree."""

    scores: list[ScoreRow]
    agreement: list[AgreementRow]


def share_of(cases: Sequence[str], number: int, of: int) -> tuple[str, ...]:
    """Return the cases of a part, every so-manyth one, as nnU-Net divides them."""
    return tuple(cases[number::of])


def write_part(part: Part, output: Path, rows: Rows | None = None) -> None:
    """Write what a part leaves, its rows first; without ``rows`` it has only started, and earlier ones stay."""
    stem = output / FOLDER / f"part_{part.number}_of_{part.of}"
    if rows is not None:
        write_scores(rows.scores, stem.with_suffix(".csv"))
        write_agreement(rows.agreement, _agreement_file(stem))
    content = asdict(part)
    content["shared"]["subsets"] = [list(subset) for subset in part.shared.subsets]
    names = part.shared.task.modalities
    content["options"]["prevalence"] = {
        subset_name(subset, names): count for subset, count in part.options.prevalence.items()
    }
    write_text(stem.with_suffix(".json"), json.dumps({"format": _FORMAT, **content}, indent=1))


def margin_is_late(output: Path, margin: float, *, takes_scores: bool = False) -> bool:
    """Return whether an evaluation's folder had scores already when this margin was first given for it.

    A margin that one of its parts was called with in time stays in time. Scores in another folder are not known here.

    Args:
        takes_scores: whether the evaluation is given files of scores, which are there before it.
    """
    with_it = []
    folder = output / FOLDER
    for file in sorted(folder.glob("part_*.json")) if folder.is_dir() else []:
        try:
            options = read_json_object(file)["options"]
            if options["margin"] == margin:
                with_it.append(bool(options.get("margin_is_late")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # torn: `read_parts` says so
            continue
    return all(with_it) if with_it else takes_scores or any(folder.glob("part_*.csv"))


def _agreement_file(of_part: Path) -> Path:
    return of_part.with_name(f"{of_part.stem}_agreement.csv")


def read_parts(output: Path, of: int | None = None) -> list[tuple[Part, Rows]]:
    """Return the parts in a folder with their rows; those of one that has not finished are none.

    Args:
        output: of the evaluation.
        of: into how many it was divided, where there are several divisions.

    Raises:
        UsageError: there is none, the files of one cannot be read, or the evaluation was divided in several ways.
    """
    found: dict[int, list[Path]] = {}
    for file in sorted((output / FOLDER).glob("part_*.json")) if (output / FOLDER).is_dir() else []:
        matched = _FILE.fullmatch(file.name)
        if matched:
            found.setdefault(int(matched[2]), []).append(file)
    if of is None and len(found) > 1:
        raise UsageError(
            f"{output / FOLDER} has parts of evaluations in {listed(sorted(found))} parts: say by -num_parts which "
            "are meant."
        )
    if not found or (of is not None and of not in found):
        which = "" if of is None else f" in {of} parts"
        raise UsageError(
            f"There is no evaluation{which} in {output}: run nnunet_missingmod evaluate with models first."
        )
    files = found[next(iter(found)) if of is None else of]
    parts = []
    for file in files:
        try:
            part = _part_of(read_json_object(file))
            rows = Rows([], [])
            if part.finished:
                rows = Rows(read_scores(file.with_suffix(".csv")), read_agreement(_agreement_file(file)))
            parts.append((part, rows))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{file} or its scores cannot be read: {reason}. Run this part again.") from error
    return sorted(parts, key=lambda each: each[0].number)


def _part_of(content: Mapping[str, Any]) -> Part:
    """Return the part that a JSON file holds.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it holds none.
    """
    values = dict(content)
    if values.pop("format") != _FORMAT:
        raise ValueError("another version of this package wrote it")
    shared, options = dict(values["shared"]), dict(values["options"])
    task = dict(shared["task"])
    names = tuple(task["modalities"])
    return Part(
        **{
            **values,
            "shared": Shared(
                **{
                    **shared,
                    "task": Task(
                        **{
                            **task,
                            "modalities": names,
                            "labels": tuple(task["labels"]),
                            "regions": {region: tuple(labels) for region, labels in task["regions"].items()},
                        }
                    ),
                    "subsets": tuple(map(tuple, shared["subsets"])),
                    "label_map": {int(value): label for value, label in shared["label_map"].items()},
                    "cases": tuple(shared["cases"]),
                    "folds": {model: tuple(each) for model, each in shared.get("folds", {}).items()},
                    "contents": {case: tuple(each) for case, each in shared.get("contents", {}).items()},
                }
            ),
            "options": ReportOptions(
                **{
                    **options,
                    "prevalence": {
                        choose_subset([name], names): count for name, count in options["prevalence"].items()
                    },
                }
            ),
            "cases": tuple(values["cases"]),
            "files": {case: tuple(files) for case, files in values["files"].items()},
            "folds_together": {model: tuple(each) for model, each in values.get("folds_together", {}).items()},
            "seen": {model: tuple(each) for model, each in values.get("seen", {}).items()},
            "failures": tuple(values["failures"]),
        }
    )
