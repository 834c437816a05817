"""Finds the predictions of models that are not nnU-Net's in a folder: which file is which case under which subset.

The case is a part of the path, ``SUBSET/CASE.nii.gz`` or ``CASE/SUBSET.nii.gz`` below any folders, or stands where a
pattern says. How subsets may be written is in ``subset_notation``. No file is opened; ``scoring`` reads them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nnunet_missingmod.errors import listed
from nnunet_missingmod.modalities import Subset, subset_name
from nnunet_missingmod.subset_notation import named_subsets, read_subsets

CASE, SUBSET = "{case}", "{subset}"
_SHOWN = 5


@dataclass(frozen=True)
class OutsidePredictions:
    """What a folder holds.

    Attributes:
        files: {(case, subset): file}.
        notes: sentences on files that are none of the evaluated cases.
        problems: sentences on files that cannot be assigned, and are not scored.
    """

    files: dict[tuple[str, Subset], Path]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    def by_case(self) -> dict[str, dict[Subset, Path]]:
        """Return {case: {subset: file}}."""
        found: defaultdict[str, dict[Subset, Path]] = defaultdict(dict)
        for (case, subset), file in sorted(self.files.items()):
            found[case][subset] = file
        return dict(found)


def check_pattern(pattern: str) -> None:
    """Check that a pattern says where case and subset stand in a path.

    Raises:
        ValueError: one of them is missing or stands twice, or nothing is between them.
    """
    if any(pattern.count(word) != 1 for word in (CASE, SUBSET)):
        raise ValueError(f"--pattern has {CASE} and {SUBSET} once each, as {CASE}_{SUBSET}, got {pattern!r}.")
    if CASE + SUBSET in pattern or SUBSET + CASE in pattern:
        raise ValueError(f"--pattern has something between {CASE} and {SUBSET}, as a slash or _, got {pattern!r}.")


def find_predictions(
    folder: Path,
    cases: Collection[str],
    names: Sequence[str],
    *,
    endings: Sequence[str],
    pattern: str | None = None,
) -> OutsidePredictions:
    """Return the predictions in a folder.

    Args:
        folder: is searched with all folders in it; hidden files are passed over.
        cases: that are evaluated.
        names: the modality names in channel order.
        endings: of files that are label maps.
        pattern: of the path below the folder, without ending: ``{subset}/{case}``, ``{case}/seg_{subset}``. ``*``
            stands for anything within a part of the path.

    Raises:
        ValueError: a subset may be read in two ways, two files are one prediction, or none is found.
    """
    stems = dict(_stems(folder, endings))
    places = {
        file: _by_pattern(stem, cases, pattern) if pattern else _by_parts(stem, cases) for file, stem in stems.items()
    }
    subsets: dict[str, Subset]
    if len(names) == 1:  # there is nothing to tell apart
        subsets = dict.fromkeys((text for found in places.values() for _, text in found), (0,))
    else:
        # Where a path names modalities, numbers in it (of folds, say) are no subset.
        subsets = named_subsets((text for found in places.values() for _, text in found), names)
        places = {file: [each for each in found if each[1] in subsets] or found for file, found in places.items()}
        subsets |= read_subsets((text for found in places.values() for _, text in found), names)
    files: dict[tuple[str, Subset], list[Path]] = defaultdict(list)
    others, unread, unclear = [], [], []
    for file, found in places.items():
        meant = {(case, subsets[text]) for case, text in found if text in subsets}
        if len(meant) == 1:
            files[meant.pop()].append(file)
        elif meant:
            unclear.append(file)
        elif found:
            unread.append(file)
        else:
            others.append(file)
    twice = [(key, of_key) for key, of_key in files.items() if len(of_key) > 1]
    if twice:
        (case, subset), (one, other, *_) = twice[0]
        raise ValueError(
            f"{one} and {other} are both case {case} with {subset_name(subset, names)}: give a folder that holds each "
            "prediction once, or say by --pattern which is meant."
        )
    if not files:
        raise ValueError(_nothing_found(folder, stems, endings, pattern))
    return OutsidePredictions(
        {key: of_key[0] for key, of_key in files.items()},
        notes=_said(folder, others, "of no case that is evaluated"),
        problems=(
            *_said(folder, unread, "whose path names no subset of " + ", ".join(names)),
            *_said(folder, unclear, "whose path names several cases or subsets"),
        ),
    )


def _stems(folder: Path, endings: Sequence[str]) -> Iterable[tuple[Path, str]]:
    """Yield every file of an image's ending with its path below the folder, without the ending."""
    longest_first = sorted(endings, key=len, reverse=True)
    for file in sorted(folder.rglob("*")):
        below = file.relative_to(folder)
        ending = next((each for each in longest_first if file.name.lower().endswith(each.lower())), None)
        if ending is None or any(part.startswith(".") for part in below.parts) or not file.is_file():
            continue
        yield file, below.as_posix()[: -len(ending)]


def _by_parts(stem: str, cases: Collection[str]) -> list[tuple[str, str]]:
    """Return the (case, text of a subset) that two parts of a path may be."""
    parts = PurePosixPath(stem).parts
    return [
        (part, other)
        for position, part in enumerate(parts)
        if part in cases
        for beside, other in enumerate(parts)
        if beside != position
    ] or [(part, "") for part in parts if part in cases]


def _by_pattern(stem: str, cases: Collection[str], pattern: str) -> list[tuple[str, str]]:
    """Return the (case, text of a subset) that a path may be by the pattern."""
    found = []
    for case in cases:
        if case not in stem:
            continue
        expression = "".join(
            {CASE: re.escape(case), SUBSET: "([^/]+)", "*": "[^/]*"}.get(part, re.escape(part))
            for part in re.split(r"(\{case\}|\{subset\}|\*)", pattern)
        )
        match = re.fullmatch(expression, stem)
        if match is not None:
            found.append((case, match[1]))
    return found


def _said(folder: Path, files: Sequence[Path], which: str) -> tuple[str, ...]:
    if not files:
        return ()
    named = listed([str(file.relative_to(folder)) for file in files], most=_SHOWN, rest="{} more")
    return (f"{len(files)} file{'s' * (len(files) > 1)} in {folder} {which}: {named}.",)


def _nothing_found(folder: Path, stems: dict[Path, str], endings: Sequence[str], pattern: str | None) -> str:
    if not stems:
        return f"{folder} holds no file that ends with {' or '.join(endings)}."
    expected = f"--pattern {pattern}" if pattern else f"SUBSET/CASE{endings[0]} or CASE/SUBSET{endings[0]}"
    there = listed([str(file.relative_to(folder)) for file in stems], most=_SHOWN, rest="{} more")
    more = "" if pattern else f" Say by --pattern where case and subset stand, as --pattern '{CASE}_{SUBSET}'."
    return f"{folder} holds no prediction of an evaluated case under a subset, as {expected}; there are {there}.{more}"
