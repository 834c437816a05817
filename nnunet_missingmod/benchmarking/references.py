"""Checks every reference before anything is predicted: that it can be read, lies on its case's grid, and holds labels.

Label maps are read by the dataset's own reader, in worker processes. ``scoring`` reads them again by `read_labels`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from tqdm import tqdm

from nnunet_missingmod.benchmarking.cases import EvaluationCase
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.cases.image_file import read_grid
from nnunet_missingmod.cases.labels import Grid, read_label_file
from nnunet_missingmod.errors import UsageError, listed
from nnunet_missingmod.evaluation.label_maps import LabelFile, label_file_of
from nnunet_missingmod.workers import Workers

_CASES_IN_MESSAGE = 5
# The label of the enhancing tumour until BraTS 2021, and since.
_BRATS_OLD, _BRATS_NEW = 4, 3


class Reference(NamedTuple):
    """A reference that can be scored against.

    Attributes:
        file: its label map.
        grid: of the case's images, on which predictions lie too; None if no image of the case can be read.
        values: what the label map holds.
        tolerance_voxels: see ``geometry.distance_voxels``; None if the file's format tells no position and no spacing.
        nifti_transform, headers: see ``read_label_file``.
    """

    file: Path
    grid: Grid | None
    values: tuple[int, ...]
    tolerance_voxels: float | None
    nifti_transform: str
    headers: str


class References(NamedTuple):
    """The references of an evaluation by case, and why other cases have none that can be used."""

    usable: dict[str, Reference]
    refused: dict[str, str]


def check_references(
    cases: Sequence[EvaluationCase],
    task: Task,
    label_map: Mapping[int, int],
    *,
    choices: Mapping[str, Any],
    workers: Workers,
    others_hold_labels: bool = False,
) -> References:
    """Read the reference of every case, and check that it lies on the case's grid and holds the dataset's labels.

    Args:
        cases: each once.
        label_map: {value: label that it stands for}.
        choices: the ``choices.FILE_KEYS`` of a model: how images and references are read.
        others_hold_labels: whether ``label_map`` is for other files too, so that no reference need hold its values.

    Raises:
        UsageError: some hold other values than labels, so that the scores of all are in doubt; or ``label_map`` names a
            label that the dataset does not have, or a value that no reference holds.
    """
    others = sorted(set(label_map.values()) - set(task.labels))
    if others:
        raise UsageError(f"--map-labels: the dataset has the labels {listed(task.labels)}, and no {listed(others)}.")
    check = partial(_read_reference, reader_name=task.reader, choices=choices)
    checking = workers.in_order(check, ((case,) for case in cases))
    references = References({}, {})
    for case, future in zip(tqdm(cases, "checking references", disable=None), checking, strict=True):
        try:
            references.usable[case.case] = future.result()
        except Exception as error:  # a worker that was killed, or a label map that no one thought of
            references.refused[case.case] = f"its reference: {str(error).strip() or type(error).__name__}"
    values = {case: reference.values for case, reference in references.usable.items()}
    unused = sorted(set(label_map) - {value for held in values.values() for value in held})
    if unused and values and not others_hold_labels:
        raise UsageError(f"--map-labels: no reference holds {listed(unused)}. Leave it out.")
    _check_values(values, task.labels, label_map)
    return references


def read_labels(file: Path, reader_name: str, reference: Reference) -> LabelFile:
    """Read a label map of a case, a prediction or the reference itself.

    Raises:
        ValueError: it is missing, cannot be read, is no label map, or lies on another grid than the case's images.
    """
    if reference.grid is None:
        raise ValueError(f"{reader_name} cannot read the case's images, so that their grid is not known")
    labels = read_label_file(
        file,
        _reader(reader_name),
        reference.grid,
        tolerance_voxels=reference.tolerance_voxels,
        # Predictions have one position, that of the images as they were read.
        nifti_transform=reference.nifti_transform if file == reference.file else "refuse",
        headers=reference.headers,
    )
    return label_file_of(labels, reference.grid.properties, source=file)


def _read_reference(case: EvaluationCase, reader_name: str, choices: Mapping[str, Any]) -> Reference:
    reader = _reader(reader_name)
    transform, headers = choices["nifti_transform"], choices["headers"]
    tolerance: float | None = choices["geometry_tolerance_voxels"]
    image = next(iter(case.files.values()))
    try:
        grid = read_grid(
            image,
            reader,
            nifti_transform=transform,
            tolerance_voxels=choices["geometry_tolerance_voxels"],
        )
    except ValueError:  # it is said of the case when it is to be predicted
        return Reference(case.reference, None, (), tolerance, transform, headers)
    has_header = "sitk_stuff" in grid.properties or "nibabel_stuff" in grid.properties
    # Formats without a header have their spacing in CASE.json; without that file it is the images'.
    if not has_header and not case.reference.with_suffix(".json").is_file():
        tolerance = None
    labels = read_label_file(
        case.reference,
        reader,
        grid,
        tolerance_voxels=tolerance,
        nifti_transform=transform,
        headers=headers,
    )
    values = tuple(np.unique(labels).astype(int).tolist())
    return Reference(case.reference, grid, values, tolerance, transform, headers)


def _reader(name: str) -> Any:
    return recursive_find_reader_writer_by_name(name)()


def _check_values(values: Mapping[str, Collection[int]], labels: Sequence[int], label_map: Mapping[int, int]) -> None:
    wrong = {case: sorted(set(held) - set(labels) - set(label_map)) for case, held in values.items()}
    wrong = {case: others for case, others in wrong.items() if others}
    if not wrong:
        return
    named = [f"{case} holds {listed(others)}" for case, others in list(wrong.items())[:_CASES_IN_MESSAGE]]
    more = f", and {len(wrong) - len(named)} more cases" if len(wrong) > len(named) else ""
    is_brats = {value for others in wrong.values() for value in others} == {_BRATS_OLD}
    if is_brats and _BRATS_NEW in labels and not any(_BRATS_NEW in held for held in values.values()):
        fix = (
            f"That is how BraTS numbered until 2021, with {_BRATS_OLD} for the enhancing tumour, which is "
            f"{_BRATS_NEW} here: add --map-labels {_BRATS_OLD}={_BRATS_NEW}."
        )
    else:
        fix = "Correct these references, or take them away"
        mapped = [value for others in wrong.values() for value in others if value >= 0]
        if mapped:
            fix += f", or say which labels their values stand for, for example --map-labels {mapped[0]}={labels[-1]}"
        fix += "."
    raise UsageError(
        f"References hold values that are no labels of the dataset ({listed(labels)}): {'; '.join(named)}{more}. {fix}"
    )
