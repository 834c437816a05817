"""Which files make a case, and which file is which modality.

The channel comes from a file's suffix, never from its position in a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CHANNEL_SUFFIX = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})", re.DOTALL)


class CaseRefusedError(ValueError):
    """A case cannot be used; the message names the case, the modality and the fix."""

    def __init__(self, case: str, problem: str) -> None:
        super().__init__(f"Case {case!r} refused: {problem}")
        self.case = case
        self.problem = problem

    def __reduce__(self) -> tuple[type[CaseRefusedError], tuple[str, str]]:
        # The default would call __init__ with the finished message alone when the error leaves a worker process.
        return type(self), (self.case, self.problem)


def case_name(file: str | Path, file_ending: str) -> str:
    """Return the case a file belongs to: its name without the ending and, where it has one, the channel suffix."""
    stem = Path(file).name.removesuffix(file_ending)
    matched = _CHANNEL_SUFFIX.fullmatch(stem)
    return matched["case"] if matched else stem


def has_channel_suffix(file: Path) -> bool:
    """Return whether a file, its ending left aside, is called ``CASE_XXXX``."""
    return _CHANNEL_SUFFIX.fullmatch(file.stem) is not None


def describe_channels(names: Sequence[str], file_ending: str) -> str:
    """Return what each channel's file is called, for error messages: ``_0000.nii.gz FLAIR, _0001.nii.gz T1``."""
    return ", ".join(f"_{channel:04d}{file_ending} {name}" for channel, name in enumerate(names))


def assign_channels(files: Sequence[str | Path], names: Sequence[str], file_ending: str) -> dict[int, Path]:
    """Return {channel: file} of one case, in channel order; channels without a file are left out.

    Args:
        files: the files of one case, in any order.
        names: the modality names in channel order.
        file_ending: ``file_ending`` of dataset.json, for example ``.nii.gz``.

    Raises:
        CaseRefusedError: there is no file, or a file has no channel suffix, a channel that the dataset does not have,
            another file's channel, or another case's name.
    """
    expected = f"Expected one or more of: {describe_channels(names, file_ending)}."
    if not files:
        raise CaseRefusedError("?", f"no modality at all. {expected}")
    case = case_name(files[0], file_ending)
    assigned: dict[int, Path] = {}
    problems = []
    for file in map(Path, files):
        matched = _CHANNEL_SUFFIX.fullmatch(file.name.removesuffix(file_ending))
        if not matched or not file.name.endswith(file_ending):
            problems.append(f"{file.name} does not end with a channel number such as _0000{file_ending}")
        elif matched["case"] != case:
            problems.append(f"{file.name} belongs to another case, {matched['case']!r}")
        elif (channel := int(matched["channel"])) >= len(names):
            problems.append(f"{file.name} is channel {channel}, but the dataset has channels 0..{len(names) - 1}")
        elif channel in assigned:
            problems.append(f"{file.name} is {names[channel]} a second time, beside {assigned[channel]}")
        else:
            assigned[channel] = file
    if problems:
        raise CaseRefusedError(case, f"{'; '.join(problems)}. {expected} Rename or remove the files named.")
    return dict(sorted(assigned.items()))


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
