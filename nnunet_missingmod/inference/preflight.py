"""What is wrong with the files of cases, found out before anything is predicted or trained.

A folder becomes cases by the names of its files; each case is then read as the preprocessor will read it, and
everything that would be refused is collected, with the modality and the fix.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nnunet_missingmod.preprocessing.admission import judge_channel
from nnunet_missingmod.preprocessing.case_files import CaseRefusedError, assign_channels, case_name, describe_channels
from nnunet_missingmod.preprocessing.label_file import Grid, LabelReader, read_label_file
from nnunet_missingmod.preprocessing.read_case import Image, ImageReader, read_files

# Files of these kinds are modalities that somebody meant to give, and are not passed over.
_VOLUMES = (
    "nii.gz",
    "nii",
    "nii.bz2",
    "nrrd",
    "nhdr",
    "mha",
    "mhd",
    "gipl",
    "gipl.gz",
    "hdr",
    "img",
    "dcm",
    "mgz",
    "mnc",
)
_PICTURES = ("png", "bmp", "tif", "tiff", "jpg", "jpeg")
_SEPARATORS = "_-. "


class CaseReader(ImageReader, LabelReader, Protocol):
    """What is needed of nnU-Net's reader classes."""


@dataclass(frozen=True)
class CaseFiles:
    """One case as it was given.

    Attributes:
        case: its name, which its prediction gets.
        files: {channel: file} of the modalities it has.
        problems: what is wrong with the files' names; the case cannot be used if there are any.
        previous_stage: in a cascade, the previous stage's prediction.
    """

    case: str
    files: Mapping[int, Path]
    problems: tuple[str, ...] = ()
    previous_stage: Path | None = None


@dataclass(frozen=True)
class CaseCheck:
    """What was found out about one case.

    Attributes:
        case: what was checked.
        present: names of the modalities that count as present.
        blank: names of those whose file is there but has one value in every voxel.
        nonfinite_zeroed: {name: number of NaN and infinite voxels that will become 0}.
        grid_distance_voxels: {name: distance from the first file's grid} where it is above 0 and within the tolerance.
        problems: everything that is wrong, each with modality and fix; empty if the case can be used.
        grid: of the first file that could be read.
    """

    case: CaseFiles
    present: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    nonfinite_zeroed: Mapping[str, int] = field(default_factory=dict)
    grid_distance_voxels: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    grid: Grid | None = None


def find_cases(folder: Path, names: Sequence[str], file_ending: str) -> list[CaseFiles]:
    """Return the cases of a folder of files ``CASE_XXXX`` + ``file_ending``, by name.

    Hidden files and files that are no images are passed over. An image that is called otherwise (no channel number,
    another format) makes the case whose name it begins with unusable, because the case would otherwise be used without
    that modality; where there is no such case, it is one itself.

    Args:
        names: the modality names in channel order.
    """
    files: dict[str, list[Path]] = {}
    strays: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        if file.name.endswith(file_ending) and (case := case_name(file, file_ending)) + file_ending != file.name:
            files.setdefault(case, []).append(file)
        elif (stem := _image_stem(file.name, file_ending)) is not None:
            strays.setdefault(stem, []).append(file)
    problems: dict[str, list[Path]] = {}
    for stem, found in strays.items():
        owners = [case for case in files if stem == case or (stem.startswith(case) and stem[len(case)] in _SEPARATORS)]
        problems.setdefault(max(owners, key=len, default=stem), []).extend(found)
    return [
        _case_files(case, files.get(case, []), problems.get(case, []), names, file_ending)
        for case in sorted(files.keys() | problems.keys())
    ]


def _image_stem(name: str, file_ending: str) -> str | None:
    """The name without ending and channel number; None for a file of another kind than the dataset's."""
    endings = _PICTURES if file_ending.lstrip(".").lower() in _PICTURES else _VOLUMES
    for ending in sorted({file_ending.lower(), *(f".{ending}" for ending in endings)}, key=len, reverse=True):
        if name.lower().endswith(ending):
            return case_name(name[: -len(ending)], "") or name
    return None


def _case_files(
    case: str, files: Sequence[Path], strays: Sequence[Path], names: Sequence[str], file_ending: str
) -> CaseFiles:
    problems = []
    assigned: dict[int, Path] = {}
    if files:
        try:
            assigned = assign_channels(files, names, file_ending)
        except CaseRefusedError as error:
            problems.append(error.problem)
    if strays:
        listed = ", ".join(file.name for file in strays)
        problems.append(
            f"{listed}: not called as a channel's file, which are: {describe_channels(names, file_ending)}. Rename, "
            "convert or remove."
        )
    return CaseFiles(case, assigned, tuple(problems))


def check_case(
    case: CaseFiles,
    names: Sequence[str],
    reader: CaseReader,
    *,
    file_ending: str,
    choices: Mapping[str, Any],
    labels: Collection[int] | None = None,
    volumes_only: bool = False,
) -> CaseCheck:
    """Read a case and collect everything that is wrong with it, without raising.

    Args:
        names: the J modality names in channel order.
        choices: ``blank_is_absent``, ``nonfinite`` and ``geometry_tolerance_voxels`` of the ``"missingmod"`` block.
        labels: what a previous stage's prediction may hold; None: any whole number.
        volumes_only: whether images of two dimensions are refused.
    """
    problems = list(case.problems)
    if not case.files:
        return CaseCheck(case, problems=tuple(problems))
    read = read_files(
        case.files,
        names,
        reader,
        file_ending=file_ending,
        geometry_tolerance_voxels=choices["geometry_tolerance_voxels"],
        volumes_only=volumes_only,
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
                read_label_file(case.previous_stage, reader, grid, labels=labels)
            except ValueError as error:
                problems.append(
                    f"The previous stage's prediction {error}. Predict this case with the previous stage's model, and "
                    "give that output folder."
                )
    return CaseCheck(case, tuple(present), tuple(blank), zeroed, read.distances_voxels, tuple(problems), grid)


def _single_channels(images: Mapping[int, Image], names: Sequence[str]) -> list[tuple[str, Image]]:
    """The names and channels (X, Y, Z) that were read; files of several channels are a problem of their own."""
    if list(images) == [0] and len(images[0]) == len(names):
        return list(zip(names, images[0], strict=True))
    return [(names[channel], image[0]) for channel, image in images.items() if len(image) == 1]
