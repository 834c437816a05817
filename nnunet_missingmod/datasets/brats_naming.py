"""Which file of a BraTS folder is which modality of which case, in the naming of every year from 2017 on.

2017-2021: ``BraTS20_Training_001_flair.nii.gz``, and ``_t1``, ``_t1ce``, ``_t2``, ``_seg``.
2023 on: ``BraTS-GLI-00000-000-t2f.nii.gz`` (FLAIR), and ``-t1n`` (T1), ``-t1c`` (T1ce), ``-t2w`` (T2), ``-seg``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

CHANNELS = ("FLAIR", "T1", "T1ce", "T2")

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
