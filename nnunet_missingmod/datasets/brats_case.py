"""One BraTS case into an nnU-Net raw dataset: files checked, images placed channel by channel, labels mapped."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.datasets.brats_naming import CHANNELS, SourceCase

FILE_ENDING = ".nii.gz"
CAVITY = 4
_HEADER_BYTES = 348  # of NIfTI-1, the format of every BraTS file
# Headers hold float32, and the years were not all written by one program.
_SPACING_TOLERANCE = 1e-3


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
        ValueError: the case has no modality, two files for one place, a damaged file, files on different grids, or
            labels that the naming does not know (those of BraTS Pediatrics among them).
    """
    if case.segmentation is not None and "-PED-" in case.name:
        raise ValueError("it is a case of BraTS Pediatrics, whose labels mean other things from year to year.")
    if case.clashes:
        raise ValueError(f"{'; '.join(case.clashes)}: remove or rename one.")
    if not case.images:
        raise ValueError(f"it has a segmentation, but no image of {', '.join(CHANNELS)}.")
    sources = [file for file in (*case.images.values(), case.segmentation) if file is not None]
    for file in sources:
        _check_whole(file)
    _check_grids(sources)

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
        if case.segmentation is not None:
            labels = read_labels(case.segmentation, from_2023=case.from_2023, keep_cavity=conversion.keep_cavity)
            sitk.WriteImage(labels, str(staging / f"{case.name}{FILE_ENDING}"), useCompression=True)
            moves[staging / f"{case.name}{FILE_ENDING}"] = (
                conversion.dataset / f"labels{split}" / f"{case.name}{FILE_ENDING}"
            )
        for former in converted_files(conversion.dataset, case.name):
            former.unlink()
        for prepared, final in moves.items():
            final.parent.mkdir(exist_ok=True)
            os.replace(prepared, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def converted_files(dataset: Path, case: str) -> list[Path]:
    """Return the files of a case, training or test, that are in an nnU-Net raw dataset."""
    names = {
        "images": [f"{case}_{channel:04d}{FILE_ENDING}" for channel in range(len(CHANNELS))],
        "labels": [f"{case}{FILE_ENDING}"],
    }
    places = [dataset / f"{kind}{split}" / name for kind in names for split in ("Tr", "Ts") for name in names[kind]]
    return [path for path in places if path.is_symlink() or path.exists()]


def read_labels(file: Path, *, from_2023: bool, keep_cavity: bool) -> sitk.Image:
    """Return a segmentation as 8-bit labels 0 background, 1 NCR, 2 ED, 3 ET (and 4 RC, the resection cavity, if kept).

    Up to 2021 the enhancing tumour is label 4 and becomes 3. From 2023 on it is 3, and label 4 is something else.

    Raises:
        ValueError: there is another label; or 3 beside 4 up to 2021, where merging them could be wrong; or 4 from 2023
            on without ``keep_cavity``.
    """
    image = sitk.ReadImage(str(file))
    voxels = sitk.GetArrayFromImage(image)
    found = np.unique(voxels)
    if not np.isin(found, range(5)).all():
        raise ValueError(f"{file} holds the labels {', '.join(f'{label:g}' for label in found)}; BraTS has 0 to 4.")
    if CAVITY in found and from_2023 and not keep_cavity:
        raise ValueError(
            f"{file} holds label 4. From 2023 on the enhancing tumour is 3; in post-treatment glioma (2024) label 4 is "
            "the resection cavity: --keep-cavity keeps it as the label RC."
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


def _check_whole(file: Path) -> None:
    """Refuse a truncated or damaged file: SimpleITK would read the part that is missing as zeros and say nothing."""
    packed = file.name.endswith(".gz")
    try:
        with gzip.open(file) if packed else file.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
            # Reading a compressed file to its end checks its checksum, too.
            size = len(header) + sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file} is damaged: {error}.") from error
    if len(header) < _HEADER_BYTES:
        raise ValueError(f"{file} is truncated: it has {size} bytes, less than a NIfTI header.")
    order = "<" if struct.unpack_from("<i", header)[0] == _HEADER_BYTES else ">"
    num_axes, *extent = struct.unpack_from(f"{order}8h", header, 40)
    (bits_per_voxel,) = struct.unpack_from(f"{order}h", header, 72)
    (data_offset,) = struct.unpack_from(f"{order}f", header, 108)
    announced = int(data_offset) + prod(extent[: max(num_axes, 0)]) * bits_per_voxel // 8
    if size < announced:
        raise ValueError(f"{file} is truncated: its header announces {announced} bytes, {size} are there.")


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
        grids.append((reader.GetSize(), reader.GetSpacing()))
    for file, (size, spacing) in zip(files, grids, strict=True):
        if size != grids[0][0] or not np.allclose(spacing, grids[0][1], rtol=_SPACING_TOLERANCE, atol=0):
            raise ValueError(
                f"{file} has size {size} and spacing {spacing} mm, {files[0].name} {grids[0][0]} and {grids[0][1]} mm: "
                "the files of a case lie on one grid."
            )


def _place(source: Path, destination: Path, *, symlink: bool) -> None:
    if not source.name.endswith(".gz"):
        # The bytes of the image stay as they are. Levels above 5 take much longer and save next to nothing here.
        with source.open("rb") as plain, gzip.open(destination, "wb", compresslevel=5) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
    elif symlink:
        destination.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, destination)
