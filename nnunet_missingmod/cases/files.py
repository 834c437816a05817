"""The files of a case: which files belong together, and which modality each of them is.

Every reader of cases starts here. The channel comes from a file's suffix, never from its position in a list.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nnunet_missingmod.errors import listed

Content = TypeVar("Content")

_CHANNEL_SUFFIX = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})", re.DOTALL)

# A file with one of these endings is taken for a modality under a wrong name, and is reported rather than ignored.
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


class CaseRefusedError(ValueError):
    """A case cannot be used; the message names the case, the modality and the fix."""

    def __init__(self, case: str, problem: str) -> None:
        super().__init__(f"Case {case!r} refused: {problem}")
        self.case = case
        self.problem = problem

    def __reduce__(self) -> tuple[type[CaseRefusedError], tuple[str, str]]:
        # When the error leaves a worker process, the default would call __init__ with the message only.
        return type(self), (self.case, self.problem)


def case_name(file: str | Path, file_ending: str) -> str:
    """Return the case that a file belongs to: its name without the ending and without the channel suffix, if any."""
    stem = Path(file).name.removesuffix(file_ending)
    matched = _CHANNEL_SUFFIX.fullmatch(stem)
    return matched["case"] if matched else stem


def has_channel_suffix(file: Path) -> bool:
    """Return whether a file's name without its ending is ``CASE_XXXX``."""
    return _CHANNEL_SUFFIX.fullmatch(file.stem) is not None


def describe_channels(names: Sequence[str], file_ending: str) -> str:
    """Return the expected file suffix of each channel, for error messages: ``_0000.nii.gz FLAIR, _0001.nii.gz T1``."""
    return ", ".join(f"_{channel:04d}{file_ending} {name}" for channel, name in enumerate(names))


def assign_channels(files: Sequence[str | Path], names: Sequence[str], file_ending: str) -> dict[int, Path]:
    """Return {channel: file} of one case, in channel order; channels without a file are left out.

    Args:
        files: the files of one case, in any order.
        names: the modality names in channel order.
        file_ending: ``file_ending`` of dataset.json, for example ``.nii.gz``.

    Raises:
        CaseRefusedError: there is no file, or a file has no channel suffix, a channel that the dataset does not have,
            the channel of another file, or the name of another case.
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


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case, before they are read.

    Attributes:
        case: its name, which is also the name of its prediction.
        files: {channel: file} of the modalities that it has.
        problems: what is wrong with the files' names; if there is any problem, the case cannot be used.
        previous_stage: in a cascade, the previous stage's prediction.
    """

    case: str
    files: Mapping[int, Path]
    problems: tuple[str, ...] = ()
    previous_stage: Path | None = None


def used_files(files: Mapping[int, Content], used: Collection[int] | None) -> dict[int, Content]:
    """Return those of a case's {channel: file} that a model uses: all if ``used`` is None.

    A single file may hold all channels. If none is one that is used, all are returned: the preprocessor says what is
    wrong.
    """
    kept = {channel: file for channel, file in files.items() if used is None or channel in used}
    return kept if kept and len(files) > 1 else dict(files)


def find_cases(folder: Path, names: Sequence[str], file_ending: str) -> list[CaseFiles]:
    """Return the cases of a folder of files ``CASE_XXXX`` + ``file_ending``, sorted by name.

    Hidden files and files that are not images are ignored. An image with another name (without channel number, or in
    another format) is a problem of the case whose name it begins with, because that case would otherwise be used
    without the modality. If there is no such case, the image becomes a case of its own, with a problem.

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


def hidden_files(folder: Path, file_ending: str) -> str | None:
    """Return a sentence on a folder's hidden files with the dataset's ending, such as macOS leaves; None without any.

    This package passes over them, and nnU-Net does not.
    """
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    hidden = [file.name for file in there if file.name.startswith(".") and file.name.endswith(file_ending)]
    if not hidden:
        return None
    return (
        f"{folder} has hidden files, which nnU-Net takes for cases: {listed(hidden, rest='{} others')}. Remove them; "
        f"those of macOS by: find {shlex.quote(str(folder))} -name '._*' -delete"
    )


def _image_stem(name: str, file_ending: str) -> str | None:
    """Return the name without ending and channel number; None for a file that is not an image of the dataset's kind."""
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
        named = ", ".join(file.name for file in strays)
        problems.append(
            f"{named}: not called as a channel's file, which are: {describe_channels(names, file_ending)}. Rename, "
            "convert or remove."
        )
    return CaseFiles(case, assigned, tuple(problems))
