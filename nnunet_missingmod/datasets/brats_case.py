"""One BraTS case: which files are its modalities in the naming of every year, and how they enter a raw dataset.

2017-2021: ``BraTS20_Training_001_flair.nii.gz``, and ``_t1``, ``_t1ce``, ``_t2``, ``_seg``.
2023 on: ``BraTS-GLI-00000-000-t2f.nii.gz`` (FLAIR), and ``-t1n`` (T1), ``-t1c`` (T1ce), ``-t2w`` (T2), ``-seg``.
Other collections spell sequences otherwise (``_T1GD``, ``_T2-FLAIR``, ``_tumor_segmentation``), which is read too. A
case that lacks something while an image of another name lies beside it is refused.

Files are checked, images placed channel by channel, labels mapped.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.cases.integrity import check_whole

CHANNELS = ("FLAIR", "T1", "T1ce", "T2")
FILE_ENDING = ".nii.gz"
CAVITY = 4

_SEGMENTATION = "segmentation"
# A sequence that BraTS has not, or what was computed from images: it is none of a case's modalities.
_OTHER = "other"
# How a sequence is called at the end of a file's name, without separators and in lower case.
_SPELLINGS = {
    "FLAIR": "flair t2f t2flair flairt2 t2wflair flairw",
    "T1": "t1 t1n t1w t1pre pret1 t1native t1wpre t1plain",
    "T1ce": "t1ce t1c t1gd t1gad t1gado t1post t1contrast t1ca t1cm t1km t1wce t1wc t1wgd t1wpost cet1 gdt1 postt1 ct1 "
    "cet1w cegadoliniumt1w cegdt1w t1postcontrast t1postgd t1wpostcontrast t1cegd t1gadolinium t1enhanced t1cw t1cew "
    "t1gdw",
    "T2": "t2 t2w t2tse t2fse",
    _SEGMENTATION: "seg segm segmentation segmentations mask label labels labelmap gt groundtruth tumorseg tumorsegm "
    "tumorsegmentation tumourseg tumoursegmentation tumormask tumourmask tumorlabel segmask segmentationmask seglabel "
    "glistrboostmanuallycorrected",
    _OTHER: "adc swi dwi asl cbf cbv rcbv dti fa md ad rd dsc dce pwi pd pdw t2s t2star ktrans brainmask brainseg "
    "brainsegmentation brainparenchymasegmentation skullmask prob probability distance",
}
_KIND_OF = {spelling: kind for kind, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_FROM_2023 = {"t2f", "t1n", "t1c", "t2w"}
_CASE_FROM_2023 = re.compile(r"BraTS-[A-Z]+-[0-9]{5}-[0-9]{3}", re.IGNORECASE)
# BraTS20_Training_355 was published with its segmentation under its name of before: W39_1998.09.19_Segm.nii.
_MISNAMED_SEGMENTATION = re.compile(r"W39_1998\.09\.19_Segm\.nii(\.gz)?")
_NIFTI = (".nii", ".nii.gz")
_OTHER_FORMATS = (".mha", ".mhd", ".nrrd", ".nhdr", ".hdr", ".img", ".mgz", ".nii.bz2", ".dcm")
_SEPARATORS = "_-. "
# Headers hold float32, and the years were not all written by one program.
_SPACING_TOLERANCE = 1e-3


@dataclass
class SourceCase:
    """The files of one case as they were found.

    Attributes:
        name: of the case.
        from_2023: whether they are named as from 2023 on, which says what label 4 is.
        images: {modality: file}.
        segmentation: if there is one.
        clashes: sentences on files that claim the same place as another.
        unknown: images beside them whose names say neither what they are nor that they are something else.
    """

    name: str
    from_2023: bool
    images: dict[str, Path] = field(default_factory=dict)
    segmentation: Path | None = None
    clashes: list[str] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)

    def add(self, file: Path, modality: str | None) -> None:
        """Take a file as the image of a modality, or as the segmentation where that is None."""
        taken = self.segmentation if modality is None else self.images.get(modality)
        if taken is not None:
            self.clashes.append(f"{taken} and {file} are both its {modality or _SEGMENTATION}")
        elif modality is None:
            self.segmentation = file
        else:
            self.images[modality] = file

    @property
    def files(self) -> list[Path]:
        """Its images and its segmentation."""
        return [file for file in (*self.images.values(), self.segmentation) if file is not None]

    @property
    def lacks(self) -> list[str]:
        """What it does not have of its modalities and its segmentation."""
        segmentation = [] if self.segmentation else [_SEGMENTATION]
        return [*(modality for modality in CHANNELS if modality not in self.images), *segmentation]


def find_cases(folder: Path) -> tuple[dict[str, SourceCase], list[Path]]:
    """Return the cases anywhere below a folder, by name and in order, and the images that were not recognised.

    Folders such as HGG and LGG do not matter, a case is what its files' names say; only files that are called by their
    sequence alone (``t1.nii.gz``) are the case that their folder is called after. Links to folders are followed; hidden
    files are passed over.

    Raises:
        OSError: a folder cannot be read.
    """
    cases: dict[str, SourceCase] = {}
    spellings: dict[str, set[str]] = {}
    unknown: list[Path] = []
    for file in _image_files(folder):
        name, spelling = split_name(file)
        kind = _KIND_OF.get(spelling)
        if kind in (None, _OTHER) or file.name.lower().endswith(_OTHER_FORMATS):
            unknown.append(file)
            continue
        if _MISNAMED_SEGMENTATION.fullmatch(file.name):
            name = file.parent.name
        cases.setdefault(name, SourceCase(name, False)).add(file, None if kind == _SEGMENTATION else kind)
        spellings.setdefault(name, set()).update(set() if kind == _SEGMENTATION else {spelling})
    for name, case in cases.items():
        found = spellings[name]
        case.from_2023 = bool(
            _CASE_FROM_2023.fullmatch(name) or found & {"t2f", "t1n"} or (found and found <= _FROM_2023)
        )
    unknown += _take_back_parts(cases)
    _assign_unknown(cases, unknown)
    return dict(sorted(cases.items())), sorted(unknown)


def split_name(file: Path) -> tuple[str, str]:
    """Return the case that a file is called after, and how its sequence is spelled, both empty if that says nothing.

    The spelling is without separators and in lower case; ``a_T2-FLAIR.nii.gz`` gives ``a`` and ``t2flair``.
    """
    stem = re.sub(r"(\.nii)?\.[^.]+$", "", file.name)
    starts = [0, *(found.end() for found in re.finditer(f"[{re.escape(_SEPARATORS)}]", stem))]
    for start in starts:  # of several spellings the longest
        spelling = re.sub(r"[^a-z0-9]", "", stem[start:].lower())
        if spelling in _KIND_OF:
            return stem[:start].rstrip(_SEPARATORS) or file.parent.name, spelling
    return "", ""


def _take_back_parts(cases: dict[str, SourceCase]) -> list[Path]:
    """Remove what is no case of its own but files of another under odd names, and return these files.

    ``a_pre_t1.nii.gz`` in the folder ``a``, or ``a_t1_seg.nii.gz`` beside ``a_t1.nii.gz``.
    """
    folders: dict[Path, list[SourceCase]] = {}
    for case in cases.values():
        for place in {file.parent for file in case.files}:
            folders.setdefault(place, []).append(case)
    parts: dict[str, SourceCase] = {}
    for place, beside in folders.items():
        with_images = [case for case in beside if any(file.parent == place for file in case.images.values())]
        for case in beside:
            for other in with_images:
                if other is case or other.name in parts:
                    continue
                is_named_after = any(case.name.startswith(other.name + separator) for separator in _SEPARATORS)
                is_mere_label = not case.images and (is_named_after or len(with_images) == 1)
                is_one_in_its_folder = place.name == other.name and len(case.images) == 1
                fills_gaps = set(case.images).isdisjoint(other.images) or is_one_in_its_folder
                if is_mere_label or (is_named_after and fills_gaps):
                    parts[case.name] = case
    for name in parts:
        del cases[name]
    return [file for case in parts.values() for file in case.files]


def _assign_unknown(cases: Mapping[str, SourceCase], unknown: Iterable[Path]) -> None:
    """Give each file that may be a modality to the case that it is called after, or beside which alone it lies."""
    folders: dict[Path, dict[str, SourceCase]] = {}
    for case in cases.values():
        for file in case.files:
            folders.setdefault(file.parent, {})[case.name] = case
    for file in unknown:
        beside = folders.get(file.parent, {})
        is_other = _KIND_OF.get(split_name(file)[1]) == _OTHER
        named_after = [name for name in beside if file.name.startswith(name)]
        owner = max(named_after, key=len) if named_after else next(iter(beside), None)
        if owner is not None and (named_after or len(beside) == 1) and not is_other:
            beside[owner].unknown.append(file)


def _image_files(folder: Path) -> list[Path]:
    files: list[Path] = []
    visited: set[str] = set()

    def refuse(error: OSError) -> None:  # os.walk would pass over what it may not read
        raise error

    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        # A link to a folder above would make the walk endless.
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        images = (name for name in names if name.lower().endswith((*_NIFTI, *_OTHER_FORMATS)) and name[0] != ".")
        files += [Path(parent, name) for name in images]
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
        ValueError: the case has no modality, two files for one place, a damaged file, files on different grids, labels
            that the naming does not know (those of BraTS Pediatrics among them), or lacks something while an image
            whose name says nothing lies beside it.
    """
    if case.segmentation is not None and "-PED-" in case.name:
        raise ValueError("it is a case of BraTS Pediatrics, whose labels mean other things from year to year.")
    if case.clashes:
        raise ValueError(f"{'; '.join(case.clashes)}: remove or rename one.")
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
    if found.max() == 1 and "mask" in split_name(file)[1]:
        raise ValueError(f"{file} is called a mask and holds no label but 1: call it CASE_seg if it is the tumour's.")
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
    if not source.name.lower().endswith(".gz"):
        # The bytes of the image stay as they are. Levels above 5 take much longer and save next to nothing here.
        with source.open("rb") as plain, gzip.open(destination, "wb", compresslevel=5) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
    elif symlink:
        destination.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, destination)
