"""The scores of an evaluation: every prediction of a case against its reference, which is prepared once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from nnunet_missingmod import __version__
from nnunet_missingmod.benchmarking.references import Reference, read_labels
from nnunet_missingmod.benchmarking.score_store import Scores, ScoreStore, Stored
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.errors import listed
from nnunet_missingmod.evaluation.agreement import Agreement, CroppedLabels, agreement_with, comparable
from nnunet_missingmod.evaluation.label_maps import LabelFile, relabelled
from nnunet_missingmod.evaluation.scores import ScoreRow, score_rows
from nnunet_missingmod.evaluation.scoring import score_files
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.storage import file_fingerprint, fingerprint
from nnunet_missingmod.workers import Workers


class ToScore(NamedTuple):
    """One prediction; ``is_outside`` if another program made it, so that it may hold anything."""

    model: str
    fold: str
    case: str
    subset: Subset
    file: Path
    is_outside: bool = False


class Scored(NamedTuple):
    """The rows of each prediction that could be scored, why the others could not be, and how far they agree.

    ``agreement`` is that of each prediction with those from one modality less, where all of these could be read.
    """

    rows: dict[ToScore, list[ScoreRow]]
    failed: dict[ToScore, str]
    agreement: dict[ToScore, Agreement]


def score_all(
    predictions: Sequence[ToScore],
    references: Mapping[str, Reference],
    task: Task,
    *,
    label_map: Mapping[int, int],
    tolerance_mm: float,
    lesions: bool = False,
    workers: Workers,
    store: Path | None = None,
) -> Scored:
    """Score predictions, a case at a time; one that cannot be scored is named in the result and costs no other.

    Args:
        references: of each case, checked.
        label_map: {value in the references: label of the dataset that it stands for}; values of predictions from
            outside are mapped too.
        tolerance_mm: of the surface Dice.
        lesions: whether lesions are counted and matched too.
        store: folder in which each model has a `ScoreStore`; None to score everything anew.
    """
    by_case: defaultdict[str, list[ToScore]] = defaultdict(list)
    for prediction in predictions:
        by_case[prediction.case].append(prediction)
    settings = (task, label_map, tolerance_mm, lesions, store)
    scoring = workers.in_order(
        score_case, ((of_case, references[case], *settings) for case, of_case in by_case.items())
    )
    scored = Scored({}, {}, {})
    for of_case, future in zip(tqdm(by_case.values(), "scoring", disable=None), scoring, strict=True):
        try:
            of_this = future.result()
        except Exception as error:  # a worker that was killed, or a label map that no one thought of
            of_this = Scored({}, dict.fromkeys(of_case, str(error) or type(error).__name__), {})
        scored.rows.update(of_this.rows)
        scored.failed.update(of_this.failed)
        scored.agreement.update(of_this.agreement)
    return scored


def score_case(
    predictions: Sequence[ToScore],
    reference: Reference,
    task: Task,
    label_map: Mapping[int, int],
    tolerance_mm: float,
    lesions: bool = False,
    store: Path | None = None,
) -> Scored:
    """Score the predictions of one case against its reference, all read by the dataset's reader.

    What ``store`` has already is not scored or compared again, and what is new is added to it.
    """
    case = predictions[0].case
    outside = {each.file for each in predictions if each.is_outside}
    kept: dict[Path, CroppedLabels] = {}

    def read(file: Path) -> LabelFile:
        found = read_labels(file, reader_name=task.reader, reference=reference)
        if file in outside:
            found = _checked(found, file, task, label_map)
        kept[file] = CroppedLabels.of(found.labels)
        return found

    known = _Known(case, reference, task, label_map, tolerance_mm, lesions, store)
    scores = {each: found for each in predictions if (found := known.scores(each)) is not None}
    left = [each for each in predictions if each not in scores]
    refused: dict[ToScore, str] = {}
    if left:
        of_case = score_files(
            {each: each.file for each in left},
            reference.file,
            task.regions,
            case=case,
            ignore_label=task.ignore_label,
            tolerance_mm=tolerance_mm,
            lesions=lesions,
            read=read,
            new_labels=label_map,
        )
        scores |= of_case.scores
        refused = of_case.refused
        known.add_scores(of_case.scores)

    def labels(file: Path) -> CroppedLabels:
        if file not in kept:
            read(file)
        return kept[file]

    agreement: dict[ToScore, Agreement] = {}
    for each, others in _compared([each for each in predictions if each in scores]).items():
        of_regions = known.agreement(each, others)
        if of_regions is None:
            of_regions = agreement_with(labels(each.file), [labels(other.file) for other in others], task.regions)
            known.add_agreement(each, others, of_regions)
        agreement[each] = of_regions
    known.write()
    rows = {
        each: score_rows(
            scores[each],
            model=each.model,
            fold=each.fold,
            case=each.case,
            subset=each.subset,
            modalities=task.modalities,
        )
        for each in predictions
        if each in scores
    }
    return Scored(rows, refused, agreement)


def _compared(predictions: Sequence[ToScore]) -> dict[ToScore, list[ToScore]]:
    """Return the predictions of one case, each with those of the same run from one modality less, if all are there."""
    of_run: defaultdict[tuple[str, str], dict[Subset, ToScore]] = defaultdict(dict)
    for each in predictions:
        of_run[each.model, each.fold][each.subset] = each
    return {
        run[subset]: [run[less] for less in others]
        for run in of_run.values()
        for subset, others in comparable(run).items()
    }


def _checked(found: LabelFile, file: Path, task: Task, label_map: Mapping[int, int]) -> LabelFile:
    """Return a prediction from outside with its labels mapped.

    Raises:
        ValueError: it holds other values than the dataset's labels.
    """
    labels = relabelled(found.labels, label_map)
    others = sorted(set(np.unique(labels).tolist()) - set(task.labels))
    if others:
        raise ValueError(
            f"{file} holds {listed(others)}, and the dataset's labels are {listed(task.labels)}: write these, or "
            f"say by --map-labels what is meant, for example {others[0]}={task.labels[-1]}."
        )
    return replace(found, labels=labels)


def _content(file: Path) -> str:
    """Return a fingerprint of a label map; a 3-D TIFF has its spacing in CASE.json beside it."""
    beside = file.with_suffix(".json")
    has_spacing_beside = file.suffix.lower() in (".tif", ".tiff") and beside.is_file()
    return file_fingerprint(file) + (f" {file_fingerprint(beside)}" if has_spacing_beside else "")


class _Known:
    """The scores and agreement of one case that are stored, of every model."""

    def __init__(
        self,
        case: str,
        reference: Reference,
        task: Task,
        label_map: Mapping[int, int],
        tolerance_mm: float,
        lesions: bool,
        folder: Path | None,
    ) -> None:
        self._case, self._folder, grid = case, folder, reference.grid
        self._stored: dict[str, Stored] = {}
        self._grown: set[str] = set()
        self._fingerprints: dict[Path, str] = {}
        try:
            self._origin: dict[str, Any] | None = {
                "nnunet_missingmod": __version__,
                "reference": _content(reference.file),
                "regions": {name: list(labels) for name, labels in task.regions.items()},
                "labels": list(task.labels),
                "ignore_label": task.ignore_label,
                "label_map": {str(value): label for value, label in sorted(label_map.items())},
                "tolerance_mm": tolerance_mm,
                # How files are read, and the grid on which they must lie.
                "reader": task.reader,
                "grid": None if grid is None else fingerprint(list(grid.shape), dict(grid.properties)),
                "tolerance_voxels": reference.tolerance_voxels,
                "nifti_transform": reference.nifti_transform,
                "headers": reference.headers,
                # Scores without lesions are used again as they are.
                **({"lesions": version("panoptica")} if lesions else {}),
            }
        except OSError:  # scoring says so
            self._origin = None

    def scores(self, prediction: ToScore) -> Scores | None:
        """Return the scores of a prediction, or None if they are not known."""
        if self._folder is None or self._origin is None:
            return None
        if prediction.model not in self._stored:
            store = ScoreStore(self._folder / prediction.model)
            self._stored[prediction.model] = store.read(self._case, self._origin)
        try:
            key = _content(prediction.file)
        except OSError:  # as before
            return None
        self._fingerprints[prediction.file] = key
        return self._stored[prediction.model].scores.get(key)

    def add_scores(self, scores: Mapping[ToScore, Scores]) -> None:
        """Keep the scores of predictions beside those that are there."""
        for each, of_regions in scores.items():
            if each.file in self._fingerprints:
                self._stored[each.model].scores[self._fingerprints[each.file]] = of_regions
                self._grown.add(each.model)

    def agreement(self, prediction: ToScore, others: Sequence[ToScore]) -> Agreement | None:
        """Return how far a prediction agrees with others, or None if it is not known."""
        key = self._key(prediction, others)
        return None if key is None else self._stored[prediction.model].agreement.get(key)

    def add_agreement(self, prediction: ToScore, others: Sequence[ToScore], agreement: Agreement) -> None:
        """Keep how far a prediction agrees with others."""
        key = self._key(prediction, others)
        if key is not None:
            self._stored[prediction.model].agreement[key] = agreement
            self._grown.add(prediction.model)

    def _key(self, prediction: ToScore, others: Sequence[ToScore]) -> str | None:
        """Return a fingerprint of a prediction and those that it is compared with, or None if one of them has none."""
        if not all(each.file in self._fingerprints for each in (prediction, *others)):
            return None
        return fingerprint(
            self._fingerprints[prediction.file], sorted(self._fingerprints[each.file] for each in others)
        )

    def write(self) -> None:
        """Store what is new."""
        if self._folder is None or self._origin is None:
            return
        for model in sorted(self._grown):
            ScoreStore(self._folder / model).write(self._case, self._origin, self._stored[model])
