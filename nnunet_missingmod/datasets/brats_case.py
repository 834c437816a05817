"""One BraTS case enters a raw dataset: files are checked, images placed channel by channel, labels mapped.

A case that lacks something while an image of another name lies beside it is refused.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.cases import geometry
from nnunet_missingmod.cases.integrity import check_whole, checked_header
from nnunet_missingmod.datasets.brats_naming import CHANNELS, SourceCase, split_name
from nnunet_missingmod.errors import FailedError, listed

FILE_ENDING = ".nii.gz"
CAVITY = 4

# As the default of geometry_tolerance_voxels: training and predicting would refuse what lies farther apart.
_GRID_TOLERANCE_VOXELS = 0.1
_MOST_SHOWN = 10
# They are of one case's name, where other errors of writing are of the disk.
_ERRORS_OF_A_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True)
class Conversion:
    """The dataset folder that cases go to, and how they go there."""

    dataset: Path
    test: bool = False
    symlink: bool = False
    keep_cavity: bool = False

    def split(self, case: SourceCase) -> str:
        """Return what the folders of a case end in: ``Tr``, or ``Ts`` for test cases and those without segmentation."""
        return "Ts" if self.test or case.segmentation is None else "Tr"


def convert_case(case: SourceCase, conversion: Conversion) -> None:
    """Write the images and the segmentation of a case; files of the case that are there already are replaced.

    Everything is prepared in a hidden folder and moved into place at the end: a refused case leaves nothing, and
    replaces nothing.

    Raises:
        ValueError: the case has no modality, two files for one place, a damaged file, files on different grids, labels
            that the naming does not know (those of BraTS Pediatrics among them), or lacks something while an image
            whose name says nothing lies beside it.
        FailedError: the dataset folder cannot be written to.
    """
    if case.segmentation is not None and "-ped-" in case.name.lower():
        raise ValueError("it is a case of BraTS Pediatrics, whose labels mean other things from year to year.")
    if case.problem:
        raise ValueError(case.problem)
    if case.unknown and case.lacks:
        raise ValueError(
            f"{case.unknown[0]} lies beside it and may be its {' or '.join(case.lacks)}: call it as BraTS does, as "
            f"{case.name}_t1ce.nii.gz, or move it away."
        )
    if not case.images:
        raise ValueError(f"it has a segmentation, but no image of {', '.join(CHANNELS)}.")
    for file in case.files:
        # SimpleITK would read the part of a truncated file that is missing as zeros and say nothing.
        check_whole(file)
    _check_grids(case.files)

    labels = (
        None
        if case.segmentation is None
        else read_labels(
            case.segmentation,
            from_2023=case.from_2023,
            keep_cavity=conversion.keep_cavity,
            is_year_certain=case.is_year_certain,
        )
    )
    try:
        _write(case, labels, conversion)
    except OSError as error:
        if error.errno in _ERRORS_OF_A_NAME:
            raise
        raise write_failure(conversion.dataset, error.strerror or str(error)) from error


def _write(case: SourceCase, labels: sitk.Image | None, conversion: Conversion) -> None:
    split = conversion.split(case)
    staging = conversion.dataset / ".unfinished" / case.name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        moves: dict[Path, Path] = {}
        for modality, file in case.images.items():
            name = f"{case.name}_{CHANNELS.index(modality):04d}{FILE_ENDING}"
            _place(file, staging / name, symlink=conversion.symlink)
            moves[staging / name] = conversion.dataset / f"images{split}" / name
        if labels is not None:
            name = f"{case.name}{FILE_ENDING}"
            try:
                sitk.WriteImage(labels, str(staging / name), useCompression=True)
                check_whole(staging / name)  # the writer of NIfTI says nothing on a full disk
            except (RuntimeError, ValueError) as error:
                raise write_failure(conversion.dataset, f"{name} is not written whole") from error
            moves[staging / name] = conversion.dataset / f"labels{split}" / name
        for former in converted_files(conversion.dataset, case.name):
            former.unlink()
        for prepared, final in moves.items():
            final.parent.mkdir(exist_ok=True)
            os.replace(prepared, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_failure(dataset: Path, reason: str) -> FailedError:
    """Return the error of a conversion that cannot go on because its dataset cannot be written to."""
    return FailedError(
        f"Cannot write into {dataset}: {reason}. Make room or mend the access rights, and run again with --overwrite."
    )


def converted_files(dataset: Path, case: str) -> list[Path]:
    """Return the files of a case, training or test, that are in an nnU-Net raw dataset."""
    names = {
        "images": [f"{case}_{channel:04d}{FILE_ENDING}" for channel in range(len(CHANNELS))],
        "labels": [f"{case}{FILE_ENDING}"],
    }
    places = [dataset / f"{kind}{split}" / name for kind in names for split in ("Tr", "Ts") for name in names[kind]]
    return [path for path in places if path.is_symlink() or path.exists()]


def read_labels(file: Path, *, from_2023: bool, keep_cavity: bool, is_year_certain: bool = True) -> sitk.Image:
    """Return a segmentation as 8-bit labels 0 background, 1 NCR, 2 ED, 3 ET (and 4 RC, the resection cavity, if kept).

    Up to 2021 the enhancing tumour is label 4 and becomes 3. From 2023 on it is 3, and label 4 is something else.

    Raises:
        ValueError: there is another label, or what is no number; or 3 beside 4 up to 2021, where merging them could be
            wrong; or 4 from 2023 on without ``keep_cavity``; or 4 without 3 where the year is not certain, so that 4
            may be either.
    """
    # The reader takes what is not finite for 0, the background.
    nonfinite, _ = checked_header(file, strict=True)
    if nonfinite:
        raise ValueError(f"{file} holds {nonfinite} values that are NaN or infinite; BraTS has the labels 0 to 4.")
    image = sitk.ReadImage(str(file))
    voxels = sitk.GetArrayFromImage(image)
    found = np.unique(voxels)
    if not np.isin(found, range(5)).all():
        shown = listed([f"{label:g}" for label in found], most=_MOST_SHOWN, rest="{} others")
        raise ValueError(f"{file} holds the labels {shown}; BraTS has 0 to 4.")
    if found.max() == 1 and "mask" in split_name(file)[1]:
        raise ValueError(f"{file} is called a mask and holds no label but 1: call it CASE_seg if it is the tumour's.")
    if CAVITY in found and from_2023 and 3 not in found and not is_year_certain:
        raise ValueError(
            f"{file} holds label 4 and no 3, and the names do not say which year numbered it: if it is the enhancing "
            "tumour (up to 2021), call the images CASE_t1ce and CASE_t2; if it is the resection cavity (2024), call "
            "the case as BraTS-GLI-00000-000 and give --keep-cavity."
        )
    if CAVITY in found and from_2023 and not keep_cavity:
        either = "" if 3 in found else " If it is the enhancing tumour, call the images as up to 2021 (CASE_t1ce)."
        raise ValueError(
            f"{file} holds label 4. From 2023 on the enhancing tumour is 3; in post-treatment glioma (2024) label 4 is "
            f"the resection cavity: --keep-cavity keeps it as the label RC.{either}"
        )
    if CAVITY in found and not from_2023:
        if 3 in found:
            raise ValueError(
                f"{file} holds the labels 3 and 4; up to 2021 label 4 is the enhancing tumour and 3 is unused."
            )
        voxels = np.where(voxels == CAVITY, 3, voxels)
    labels = sitk.GetImageFromArray(voxels.astype(np.uint8))
    labels.CopyInformation(image)
    return labels


def _check_grids(files: list[Path]) -> None:
    grids = []
    for file in files:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise ValueError(f"{file} cannot be read as an image.") from error
        if len(reader.GetSize()) != 3 or reader.GetNumberOfComponents() != 1:
            raise ValueError(f"{file} is no volume of three axes with one value per voxel.")
        spacing = reader.GetSpacing()
        stuff = {"spacing": spacing, "origin": reader.GetOrigin(), "direction": reader.GetDirection()}
        grids.append((reader.GetSize()[::-1], {"spacing": spacing[::-1], "sitk_stuff": stuff}))
    (shape, first), *_ = grids
    for file, (other_shape, other) in zip(files, grids, strict=True):
        if other_shape != shape or not geometry.distance_voxels(shape, first, other) <= _GRID_TOLERANCE_VOXELS:
            raise ValueError(
                f"{file} has {geometry.describe(other_shape, other)}; {files[0].name} has "
                f"{geometry.describe(shape, first)}: the files of a case lie on one grid."
            )


def _place(source: Path, destination: Path, *, symlink: bool) -> None:
    if not source.name.lower().endswith(".gz"):
        # The bytes of the image stay as they are. Levels above 5 take much longer and save next to nothing here.
        with source.open("rb") as plain, gzip.open(destination, "wb", compresslevel=5) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
    elif symlink:
        destination.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, destination)
