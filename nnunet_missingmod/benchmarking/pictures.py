"""Draws some cases of an evaluation for its report: predictions beside the reference, chosen by a rule."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import Any

from numpy.typing import NDArray

from nnunet_missingmod.benchmarking.parts import Part
from nnunet_missingmod.benchmarking.store import FOLDER as PREDICTIONS
from nnunet_missingmod.benchmarking.store import PredictionStore
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.evaluation.conventions import DICE, Convention
from nnunet_missingmod.evaluation.label_maps import relabelled
from nnunet_missingmod.evaluation.report.qualitative import QualitativeCase, qualitative_grid
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, subset_name

logger = logging.getLogger(__name__)

GRID = "figures/cases.png"
_SHOWN_CASES = 3
_SHOWN_MODELS = 3
_SHOWN_SUBSETS = 5


def draw_cases(
    evaluation: Part, rows: Sequence[ScoreRow], output: Path, convention: Convention
) -> list[tuple[str, Path]]:
    """Draw cases of low, middle and high Dice under the hardest subset of each size; return (caption, file) pairs.

    Nothing is drawn of models of which there are scores alone, nor where no Dice is defined.
    """
    task, path = evaluation.shared.task, output / GRID
    drawn = [model for model in dict.fromkeys(row.model for row in rows) if _has_predictions(evaluation, model)]
    drawn = drawn[:_SHOWN_MODELS]
    of_first = [row for row in rows if row.model in drawn[:1] and row.case in evaluation.files]
    shown = hardest_of_each_size(of_first, evaluation.shared.subsets, task, convention)
    if not shown:
        path.unlink(missing_ok=True)
        return []
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
        # nnU-Net is imported only where a picture is drawn.
        from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

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
    """Return the subset of lowest mean Dice of each size; if there are too many sizes to show, of some of them.

    Subsets without a defined Dice are left out; if there are no others, there is none.
    """
    of_subset: defaultdict[str, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        of_subset[row.subset].append(row)
    hardest: dict[int, tuple[float, Subset]] = {}
    for subset in subsets:
        mean = _mean_dice(of_subset[subset_name(subset, task.modalities)], convention)
        if not isnan(mean) and (len(subset) not in hardest or mean < hardest[len(subset)][0]):
            hardest[len(subset)] = (mean, subset)
    sizes = sorted(hardest)
    if not sizes:
        return []
    kept = {sizes[round(index * (len(sizes) - 1) / (_SHOWN_SUBSETS - 1))] for index in range(_SHOWN_SUBSETS)}
    return [hardest[size][1] for size in sorted(kept)]


def spread_cases(rows: Sequence[ScoreRow], convention: Convention) -> list[str]:
    """Return the cases at the quartiles of mean Dice, among those that have every region, or among all if none has.

    Cases without a defined Dice have no place in that order, and are left out.
    """
    of_case: defaultdict[str, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        of_case[row.case].append(row)
    means = {case: _mean_dice(each, convention) for case, each in of_case.items()}
    defined = [case for case, mean in means.items() if not isnan(mean)]
    eligible = [case for case in defined if all(row.reference_voxels for row in of_case[case])] or defined
    if not eligible:
        return []
    ranked = sorted(eligible, key=lambda case: (means[case], case))
    quartiles = [round(share * (len(ranked) - 1)) for share in (0.25, 0.5, 0.75)]
    return [ranked[position] for position in dict.fromkeys(quartiles)][:_SHOWN_CASES]
