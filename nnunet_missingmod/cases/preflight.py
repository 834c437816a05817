"""Checks the files of cases before any case is predicted or trained on.

``files.find_cases`` finds the cases. Each is read as the preprocessor will read it, and every problem for which it
would be refused is collected, with the modality and the fix. ``predict`` and ``inspect`` use it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from nnunet_missingmod.cases.files import CaseFiles, used_files
from nnunet_missingmod.cases.image_file import Image, ImageReader
from nnunet_missingmod.cases.labels import Grid, LabelReader, read_label_file
from nnunet_missingmod.cases.reading import judge_channel, read_files
from nnunet_missingmod.cases.reorientation import turned_from
from nnunet_missingmod.workers import Workers


class CaseReader(ImageReader, LabelReader, Protocol):
    """The part of nnU-Net's reader classes that reads images and label maps."""


@dataclass(frozen=True)
class CaseCheck:
    """The result of checking one case.

    Attributes:
        case: the case that was checked.
        present: names of the modalities that count as present.
        blank: names of the modalities whose file has the same value in every voxel.
        nonfinite_zeroed: {name: number of NaN and infinite voxels that will become 0}.
        grid_distance_voxels: {name: distance from the first file's grid} for distances above 0 within the tolerance.
        copies: {name: other name} of the modalities whose voxels are all those of an earlier one.
        problems: all problems, each with modality and fix; empty if the case can be used.
        grid: of the first file that could be read.
    """

    case: CaseFiles
    present: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    nonfinite_zeroed: Mapping[str, int] = field(default_factory=dict)
    grid_distance_voxels: Mapping[str, float] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    grid: Grid | None = None


def check_case(
    case: CaseFiles,
    names: Sequence[str],
    reader: CaseReader,
    *,
    file_ending: str,
    choices: Mapping[str, Any],
    labels: Collection[int] | None = None,
    volumes_only: bool = False,
    used: Collection[int] | None = None,
) -> CaseCheck:
    """Read a case and collect all problems with it; it raises nothing.

    Args:
        names: the J modality names in channel order.
        choices: the ``choices.FILE_KEYS`` of the ``"missingmod"`` block.
        labels: the accepted values of a previous stage's prediction; None accepts any whole number.
        volumes_only: whether images of two dimensions are refused.
        used: the channels that a model uses, if not all: of a case that has one of them, others are not read.
    """
    problems = list(case.problems)
    if not case.files:
        return CaseCheck(case, problems=tuple(problems))
    read = read_files(
        used_files(case.files, used),
        names,
        reader,
        file_ending=file_ending,
        geometry_tolerance_voxels=choices["geometry_tolerance_voxels"],
        volumes_only=volumes_only,
        nifti_transform=choices["nifti_transform"],
        headers=choices["headers"],
    )
    problems += read.problems
    present, blank, zeroed = [], [], {}
    for name, image in _single_channels(read.images, names):
        judged = judge_channel(
            image,
            name,
            blank_is_absent=choices["blank_is_absent"],
            nonfinite=choices["nonfinite"],
            replaced=read.replaced.get(name, 0),
        )
        if judged.problem:
            problems.append(judged.problem)
        if judged.present:
            present.append(name)
        if judged.blank:
            blank.append(name)
        if judged.zeroed:
            zeroed[name] = judged.zeroed
    if not present and not problems:
        problems.append(f"{', '.join(blank)} blank, the others absent. Give at least one of: {', '.join(names)}.")
    grid = None
    if read.images:
        first = next(iter(read.images))
        grid = Grid(read.images[first].shape[1:], read.properties[first])
        if case.previous_stage is not None:
            try:
                read_case_labels(case.previous_stage, reader, grid, choices=choices, labels=labels)
            except ValueError as error:
                problems.append(
                    f"The previous stage's prediction {error}. Predict this case with the previous stage's model, and "
                    "give that output folder."
                )
    return CaseCheck(
        case,
        tuple(present),
        tuple(blank),
        zeroed,
        read.distances_voxels,
        read.copies,
        tuple(problems),
        grid,
    )


def read_case_labels(
    file: Path, reader: LabelReader, grid: Grid, *, choices: Mapping[str, Any], labels: Collection[int] | None = None
) -> npt.NDArray[np.float32]:
    """Return a label map (1, X, Y, Z) of a case as preprocessing takes it: the segmentation, or a previous stage's.

    A reader that turns images to RAS turns label maps by their own headers. So it reads them by the transform that is
    trusted for the images, and they must lie on the images' grid. With other readers voxels are paired as they are
    stored, wherever the header puts them, as nnU-Net does.

    Args:
        grid: of the case's images, as the same reader returned it.
        choices: the ``choices.FILE_KEYS`` of the ``"missingmod"`` block.
        labels: the accepted values; None accepts any whole number.

    Raises:
        ValueError: see ``read_label_file``.
    """
    by_header = {}
    if turned_from(grid.properties) is not None:
        by_header = {
            "tolerance_voxels": choices["geometry_tolerance_voxels"],
            "nifti_transform": choices["nifti_transform"],
        }
    return read_label_file(file, reader, grid, labels=labels, headers=choices["headers"], **by_header)


def check_cases(
    cases: Sequence[CaseFiles], check: Callable[[CaseFiles], CaseCheck], *, processes: int = 1
) -> Iterator[CaseCheck]:
    """Yield the result of ``check`` for each case, in their order, and show a progress bar.

    Args:
        check: ``check_case`` with all arguments but the case bound; with several processes it must be picklable.
        processes: their number; with 1 the cases are checked in this process. A case whose worker process was killed is
            checked again in this one.
    """
    bar = tqdm(total=len(cases), desc="checking files", disable=None)
    with bar, Workers(processes) as workers:
        if processes == 1:
            for case in cases:
                yield check(case)
                bar.update()
            return
        futures = [workers.submit(check, case) for case in cases]
        for case, future in zip(cases, futures, strict=True):
            try:
                found = future.result()
            except BrokenProcessPool:
                found = check(case)
            yield found
            bar.update()


def _single_channels(images: Mapping[int, Image], names: Sequence[str]) -> list[tuple[str, Image]]:
    """Return (name, channel (X, Y, Z)) of what was read; files of several channels are left out, they are problems."""
    if list(images) == [0] and len(images[0]) == len(names):
        return list(zip(names, images[0], strict=True))
    return [(names[channel], image[0]) for channel, image in images.items() if len(image) == 1]
