"""Which files of a BraTS folder are the modalities of which case, in the naming of every year.

2017-2021: ``BraTS20_Training_001_flair.nii.gz``, and ``_t1``, ``_t1ce``, ``_t2``, ``_seg``.
2023 on: ``BraTS-GLI-00000-000-t2f.nii.gz`` (FLAIR), and ``-t1n`` (T1), ``-t1c`` (T1ce), ``-t2w`` (T2), ``-seg``.
Other collections spell sequences otherwise (``_T1GD``, ``_T2-FLAIR``, ``_tumor_segmentation``), which is read too.
Only names are looked at, no file is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_missingmod.sequence_names import SPELLINGS

CHANNELS = ("FLAIR", "T1", "T1ce", "T2")

_SEGMENTATION = "segmentation"
# A sequence that BraTS has not, or what was computed from images: it is none of a case's modalities.
_OTHER = "other"
# How a sequence is called at the end of a file's name, without separators and in lower case.
_SPELLINGS = {
    **SPELLINGS,
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
_ENDINGS = (*_NIFTI, *_OTHER_FORMATS)
_SEPARATORS = "_-. "
# Beside hidden folders, what systems keep deleted files, snapshots and thumbnails in, in lower case.
_SYSTEM_FOLDERS = ("__macosx", "$recycle.bin", "#recycle", "#snapshot", "@recycle", "@eadir")


@dataclass
class SourceCase:
    """The files of one case as they were found.

    Attributes:
        name: of the case.
        from_2023: whether they are named as from 2023 on, which says what label 4 is.
        is_year_certain: whether a name that no other year has says so; ``t1c`` and ``t2w`` are usual elsewhere too.
        images: {modality: file}.
        segmentation: if there is one.
        clashes: sentences on files that claim the same place as another.
        faults: sentences on files that cannot be taken as they lie, each with what to do.
        folders: where its files lie.
        unknown: images beside them whose names say neither what they are nor that they are something else.
    """

    name: str
    from_2023: bool
    is_year_certain: bool = True
    images: dict[str, Path] = field(default_factory=dict)
    segmentation: Path | None = None
    clashes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    folders: set[Path] = field(default_factory=set)
    unknown: list[Path] = field(default_factory=list)

    def add(self, file: Path, modality: str | None) -> None:
        """Take a file as the image of a modality, or as the segmentation where that is None."""
        self.folders.add(file.parent)
        taken = self.segmentation if modality is None else self.images.get(modality)
        if taken is not None:
            self.clashes.append(f"{taken} and {file} are both its {modality or _SEGMENTATION}")
        elif modality is None:
            self.segmentation = file
        else:
            self.images[modality] = file

    @property
    def problem(self) -> str | None:
        """Why its files cannot be taken as they lie, with what to do; None if they can."""
        if len(self.folders) > 1:
            return (
                f"its files lie in {' and '.join(map(str, sorted(self.folders)))}: the files of one case lie in one "
                "folder, and two patients have two names."
            )
        if self.clashes:
            return f"{'; '.join(self.clashes)}: remove or rename one."
        return " ".join(self.faults) or None

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
    sequence alone (``t1.nii.gz``) are the case that their folder is called after. What cannot be taken as it lies is
    in the case's ``problem``: files in two folders, or a folder where a file is expected. Links to folders are
    followed; hidden files and folders are passed over, and those of systems (``__MACOSX``).

    Raises:
        OSError: a folder cannot be read.
    """
    cases: dict[str, SourceCase] = {}
    spellings: dict[str, set[str]] = {}
    called_after_folder: dict[str, Path] = {}
    unknown: list[Path] = []
    for file in _image_files(folder):
        name, spelling = split_name(file)
        kind = _KIND_OF.get(spelling)
        if kind in (None, _OTHER) or file.name.lower().endswith(_OTHER_FORMATS):
            unknown.append(file)
            continue
        if _MISNAMED_SEGMENTATION.fullmatch(file.name):
            name = file.parent.name
        name = name or file.absolute().parent.name  # the parent of a file in "." has no name
        case = cases.setdefault(name, SourceCase(name, False))
        case.add(file, None if kind == _SEGMENTATION else kind)
        case.faults += _faults(file)
        if not split_name(Path(file.name))[0]:
            called_after_folder.setdefault(name, file)
        spellings.setdefault(name, set()).update(set() if kind == _SEGMENTATION else {spelling})
    for name, case in cases.items():
        found = spellings[name]
        case.is_year_certain = bool(_CASE_FROM_2023.fullmatch(name) or found & {"t2f", "t1n"})
        case.from_2023 = case.is_year_certain or bool(found and found <= _FROM_2023)
    unknown += _take_back_parts(cases)
    for name in called_after_folder.keys() & cases.keys():
        cases[name].faults += _faults_of_folder(called_after_folder[name], cases.values())
    _assign_unknown(cases, unknown)
    return dict(sorted(cases.items())), sorted(unknown)


def split_name(file: Path) -> tuple[str, str]:
    """Return the case that a file is called after, and how its sequence is spelled, both empty if that says nothing.

    The spelling is without separators and in lower case; ``a_T2-FLAIR.nii.gz`` gives ``a`` and ``t2flair``.
    """
    stem = re.sub(r"(\.nii)?\.[^.]+$", "", file.name, flags=re.IGNORECASE)
    starts = [0, *(found.end() for found in re.finditer(f"[{re.escape(_SEPARATORS)}]", stem))]
    for start in starts:  # of several spellings the longest
        spelling = re.sub(r"[^a-z0-9]", "", stem[start:].lower())
        if spelling in _KIND_OF:
            return stem[:start].rstrip(_SEPARATORS) or file.parent.name, spelling
    return "", ""


def _faults(file: Path) -> list[str]:
    if file.is_dir():
        return [f"{file} is a folder where an image is expected: put the image that it holds in its place."]
    if not file.name.endswith(_NIFTI):  # no reader knows them all, and none tells whether such a file is whole
        return [f"{file} has an ending in capitals: rename it to .nii or .nii.gz."]
    return []


def _faults_of_folder(file: Path, cases: Iterable[SourceCase]) -> list[str]:
    """Return why a file without a case in its name cannot be the case that its folder is called after."""
    place = file.parent
    remedy = f"call it as BraTS does, as CASE_{file.name}, or put it into the folder of its case."
    if _KIND_OF.get(split_name(place)[1], _OTHER) != _OTHER:
        return [f"{file} names no case, and its folder is called after a sequence: {remedy}"]
    if any(place in folder.parents for case in cases for folder in case.folders):
        return [f"{file} names no case, and lies beside the folders of other cases: {remedy}"]
    return []


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
        # An unpacked archive may have become a folder of its name, in which it is no case of its own.
        as_images = [name for name in folders if name.lower().endswith(_ENDINGS) and split_name(Path(name))[1]]
        folders[:] = [
            name
            for name in folders
            if name not in as_images and not name.startswith(".") and name.lower() not in _SYSTEM_FOLDERS
        ]
        names += as_images
        images = (name for name in names if name.lower().endswith(_ENDINGS) and name[0] != ".")
        files += [Path(parent, name) for name in images]
    return sorted(files)
