"""Which file of a case is which modality: the channel comes from the file's suffix, never from its position."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
