"""Prevalence files: how often each subset of modalities occurs, one line ``subset,count`` each.

``inspect`` writes the file of a dataset; ``modality_subsets`` of the plans and ``evaluate`` read one.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_missingmod.modalities import Subset, by_size, choose_subset, subset_name
from nnunet_missingmod.storage import write_text
from nnunet_missingmod.subset_notation import read_subsets

HEADER = ("subset", "count")
_EXAMPLE = "a table of commas whose first line is subset,count and whose others are as FLAIR+T1,12"


class PrevalenceError(ValueError):
    """A prevalence file is missing or says something else; the message names the file, the line and the fix."""


def read_prevalence(file: Path, names: Sequence[str]) -> dict[Subset, float]:
    """Return the count of each subset that a prevalence file names, in the order of ``modalities.all_subsets``.

    The file is CSV in UTF-8 with the header ``subset,count``. A subset is the names of its modalities joined by ``+``,
    in any order, in upper or lower case, or what else `read_subsets` knows. Counts are finite and at least 0, whole or
    not; only their proportions matter. Empty lines are passed over.

    Args:
        file: the file.
        names: the dataset's modality names, in channel order.

    Raises:
        PrevalenceError: the file cannot be read or has another form; a line names no subset of these modalities, one
            that another line names, or no such count; or no count is above 0.
    """
    counts: dict[Subset, float] = {}
    lines: dict[Subset, int] = {}
    for line, row in _rows(file):
        try:
            subset, count = _parse(row, names)
            if subset in counts:
                raise ValueError(
                    f"{subset_name(subset, names)} is in line {lines[subset]} already: leave one line with the sum"
                )
        except ValueError as error:
            raise PrevalenceError(f"{file}, line {line}: {str(error).rstrip('.')}.") from error
        counts[subset], lines[subset] = count, line
    if not any(counts.values()):
        what = "every count is 0" if counts else "there is no line below the header"
        raise PrevalenceError(f"{file} names no subset that occurs: {what}. Give at least one a count above 0.")
    return {subset: counts[subset] for subset in by_size(counts)}


def is_prevalence_file(file: Path) -> bool:
    """Return whether a file begins as a prevalence file does; whether the rest of it can be read is not said."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return _is_header(stream.readline().split(","))
    except (OSError, UnicodeDecodeError):
        return False


def write_prevalence(file: Path, counts: Mapping[Subset, float], names: Sequence[str]) -> None:
    """Write a prevalence file, the most frequent subset first; ``file`` has the old or all of the new content.

    Args:
        file: the file.
        counts: of each subset; that of no modality, which no case can be shown, is left out.
        names: the modality names, in channel order.

    Raises:
        ValueError: a subset holds a channel that has no name.
        OSError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for subset in sorted(filter(None, counts), key=lambda subset: (-counts[subset], len(subset), subset)):
        writer.writerow([subset_name(subset, names), counts[subset]])
    write_text(file, text.getvalue())


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """Return the rows below the header that are not empty, each with the number of its line."""
    try:
        reader = csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise PrevalenceError(f"{file} cannot be read: {error.strerror or error}. Name a prevalence file.") from error
    except UnicodeDecodeError as error:
        raise PrevalenceError(f"{file} is no text in UTF-8: save it as {_EXAMPLE}.") from error
    except csv.Error as error:
        raise PrevalenceError(f"{file}, line {reader.line_num}: {error}. Save it as {_EXAMPLE}.") from error
    if not rows:
        raise PrevalenceError(f"{file} is empty: save it as {_EXAMPLE}.")
    (line, header), *others = rows
    if not _is_header(header):
        raise PrevalenceError(f"{file}, line {line}: the header is {','.join(header)!r}. Save it as {_EXAMPLE}.")
    return others


def _is_header(cells: Sequence[str]) -> bool:
    return tuple(cell.strip().casefold() for cell in cells) == HEADER


def _parse(row: Sequence[str], names: Sequence[str]) -> tuple[Subset, float]:
    if len(row) != len(HEADER):
        raise ValueError(f"it has {len(row)} values in the place of {','.join(HEADER)}: {','.join(row)!r}")
    try:
        count = float(row[1])
    except ValueError:
        count = math.nan
    if not (math.isfinite(count) and count >= 0):
        raise ValueError(f"the count of {row[0]} must be a number of at least 0, got {row[1]!r}")
    return _subset(row[0], names), int(count) if count.is_integer() else count


def _subset(text: str, names: Sequence[str]) -> Subset:
    try:
        return choose_subset([text], names)
    except ValueError:
        found = read_subsets([text], names).get(text)
        if found is None:
            raise
        return found
