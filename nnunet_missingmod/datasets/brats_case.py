"""One BraTS case: which files are its modalities in the naming of every year, and how they enter a raw dataset.

2017-2021: ``BraTS20_Training_001_flair.nii.gz``, and ``_t1``, ``_t1ce``, ``_t2``, ``_seg``.
2023 on: ``BraTS-GLI-00000-000-t2f.nii.gz`` (FLAIR), and ``-t1n`` (T1), ``-t1c`` (T1ce), ``-t2w`` (T2), ``-seg``.

Files are checked, images placed channel by channel, labels mapped.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.cases.integrity import check_whole

CHANNELS = ("FLAIR", "T1", "T1ce", "T2")
FILE_ENDING = ".nii.gz"
CAVITY = 4

_UP_TO_2021 = re.compile(r"(?P<case>.+)_(?P<kind>flair|t1|t1ce|t2|seg)\.nii(\.gz)?", re.IGNORECASE)
_FROM_2023 = re.compile(r"(?P<case>.+)-(?P<kind>t2f|t1n|t1c|t2w|seg)\.nii(\.gz)?", re.IGNORECASE)
# BraTS20_Training_355 was published with its segmentation under its name of before: W39_1998.09.19_Segm.nii.
_MISNAMED_SEGMENTATION = re.compile(r".+_Segm\.nii(\.gz)?", re.IGNORECASE)
_MODALITY_OF = {
    "flair": "FLAIR",
    "t1": "T1",
    "t1ce": "T1ce",
    "t2": "T2",
    "t2f": "FLAIR",
    "t1n": "T1",
    "t1c": "T1ce",
    "t2w": "T2",
}
# Headers hold float32, and the years were not all written by one program.
_SPACING_TOLERANCE = 1e-3


@dataclass
class SourceCase:
    """The files of one case as they were found; ``clashes`` names files that claim the same place as another."""

    name: str
    from_2023: bool
    images: dict[str, Path] = field(default_factory=dict)
    segmentation: Path | None = None
    clashes: list[str] = field(default_factory=list)

    def add(self, file: Path, modality: str | None) -> None:
        """Take a file as the image of a modality, or as the segmentation where that is None."""
        taken = self.segmentation if modality is None else self.images.get(modality)
        if taken is not None:
            self.clashes.append(f"{taken} and {file} are both its {modality or 'segmentation'}")
        elif modality is None:
            self.segmentation = file
        else:
            self.images[modality] = file


def find_cases(folder: Path) -> tuple[dict[str, SourceCase], list[Path]]:
    """Return the cases anywhere below a folder, by name and in order, and the NIfTI files that belong to none.

    Folders such as HGG and LGG do not matter, a case is what its files' names say. Links to folders are followed;
    hidden files are passed over.
    """
    cases: dict[str, SourceCase] = {}
    unknown: list[Path] = []
    for file in _nifti_files(folder):
        match = _UP_TO_2021.fullmatch(file.name) or _FROM_2023.fullmatch(file.name)
        if match:
            name, from_2023 = match["case"], match.re is _FROM_2023
            modality = _MODALITY_OF.get(match["kind"].lower())
        elif _MISNAMED_SEGMENTATION.fullmatch(file.name):
            name, from_2023, modality = file.parent.name, False, None
        else:
            unknown.append(file)
            continue
        cases.setdefault(name, SourceCase(name, from_2023)).add(file, modality)
    return dict(sorted(cases.items())), unknown


def _nifti_files(folder: Path) -> list[Path]:
    files: list[Path] = []
    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        # A link to a folder above would make the walk endless.
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        files += [Path(parent, name) for name in names if name.endswith((".nii", ".nii.gz")) and name[0] != "."]
    return sorted(files)


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
        # SimpleITK would read the part of a truncated file that is missing as zeros and say nothing.
        check_whole(file)
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
