"""The scores of an evaluation: every prediction of a case against its reference, which is prepared once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from nnunet_missingmod.benchmarking.references import Reference, read_labels
from nnunet_missingmod.benchmarking.request import Task
from nnunet_missingmod.evaluation.agreement import Agreement, CroppedLabels, subset_agreement
from nnunet_missingmod.evaluation.label_maps import LabelFile
from nnunet_missingmod.evaluation.scores import ScoreRow, score_rows
from nnunet_missingmod.evaluation.scoring import score_files
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.workers import Workers


class ToScore(NamedTuple):
    """One prediction."""

    model: str
    fold: str
    case: str
    subset: Subset
    file: Path


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
    workers: Workers,
) -> Scored:
    """Score predictions, a case at a time; one that cannot be scored is named in the result and costs no other.

    Args:
        references: of each case, checked.
        label_map: {value in the references: label of the dataset that it stands for}.
        tolerance_mm: of the surface Dice.
    """
    by_case: defaultdict[str, list[ToScore]] = defaultdict(list)
    for prediction in predictions:
        by_case[prediction.case].append(prediction)
    scoring = workers.in_order(
        score_case,
        ((of_case, references[case], task, label_map, tolerance_mm) for case, of_case in by_case.items()),
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
) -> Scored:
    """Score the predictions of one case against its reference, all read by the dataset's reader, once each."""
    kept: dict[Path, CroppedLabels] = {}

    def read(file: Path) -> LabelFile:
        found = read_labels(file, reader_name=task.reader, reference=reference)
        kept[file] = CroppedLabels.of(found.labels)
        return found

    of_case = score_files(
        {each: each.file for each in predictions},
        reference.file,
        task.regions,
        case=predictions[0].case,
        ignore_label=task.ignore_label,
        tolerance_mm=tolerance_mm,
        read=read,
        new_labels=label_map,
    )
    rows = {
        each: score_rows(
            of_regions,
            model=each.model,
            fold=each.fold,
            case=each.case,
            subset=each.subset,
            modalities=task.modalities,
        )
        for each, of_regions in of_case.scores.items()
    }
    of_run: defaultdict[tuple[str, str], dict[Subset, ToScore]] = defaultdict(dict)
    for each in of_case.scores:
        of_run[each.model, each.fold][each.subset] = each
    agreement: dict[ToScore, Agreement] = {
        run[subset]: of_subset
        for run in of_run.values()
        for subset, of_subset in subset_agreement(
            {subset: kept[each.file] for subset, each in run.items()}, task.regions
        ).items()
    }
    return Scored(rows, of_case.refused, agreement)
