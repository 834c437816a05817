"""How often each subset of modalities occurs where a model is to be used, and the mean that is weighted by it.

The file has a line per subset: ``subset,count``. ``inspect`` writes it from a dataset, ``evaluate`` reads it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf, isfinite
from pathlib import Path

from nnunet_missingmod.errors import listed
from nnunet_missingmod.evaluation.aggregation import Column, ordered_subsets
from nnunet_missingmod.modalities import Subset, by_size, subset_name
from nnunet_missingmod.subset_notation import read_subsets

HEADING = "average weighted by prevalence"
_COLUMNS = ("subset", "count")


def prevalence_text(presence: Iterable[Collection[str]], modalities: Sequence[str]) -> str:
    """Return the file's content: how many cases have exactly each subset, in the order of `all_subsets`.

    Args:
        presence: the names of each case's modalities; a case without any is not counted.
        modalities: the J names in channel order.
    """
    counts: dict[Subset, int] = {}
    for present in presence:
        subset = tuple(channel for channel, name in enumerate(modalities) if name in present)
        if subset:
            counts[subset] = counts.get(subset, 0) + 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((subset_name(subset, modalities), counts[subset]) for subset in by_size(counts))
    return text.getvalue()


def read_prevalence(path: Path, modalities: Sequence[str]) -> dict[Subset, float]:
    """Return {subset: count} of the subsets that occur; counts are cases, percent, or any other number in proportion.

    Subsets are read as by `read_subsets`; one whose count is 0 is left out.

    Raises:
        ValueError: the file cannot be read, a subset is unknown or stands twice, a count is no number from 0, or all
            are 0; the line is named.
    """
    lines = _lines(path)
    try:
        subsets = read_subsets((text for _, text, _ in lines), modalities)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    counts: dict[Subset, float] = {}
    seen: dict[Subset, int] = {}
    for number, text, count in lines:
        subset = subsets.get(text)
        if subset is None:
            raise ValueError(
                f"{path}, line {number}: {text!r} is no subset of {', '.join(modalities)}: join their names by +."
            )
        other = seen.setdefault(subset, number)
        if other != number:
            name = subset_name(subset, modalities)
            raise ValueError(f"{path}: lines {other} and {number} are both {name}: add up their counts in one line.")
        counts[subset] = _count(count, path, number)
    if not any(counts.values()):
        raise ValueError(f"{path}: no subset has a count above 0, so that there is nothing to weight by.")
    return {subset: counts[subset] for subset in by_size(counts) if counts[subset]}


def check_prevalence(counts: Mapping[Subset, float], evaluated: Collection[Subset], modalities: Sequence[str]) -> None:
    """Check that every subset that occurs is evaluated: a mean over the others would be of another place.

    Raises:
        ValueError: some are not; they are named with their share.
    """
    left_out = [subset for subset in counts if subset not in set(evaluated)]
    if left_out:
        share = sum(counts[subset] for subset in left_out) / sum(counts.values())
        names = [subset_name(subset, modalities) for subset in left_out]
        raise ValueError(
            f"--prevalence: {listed(names)} ({100 * share:.3g} % of the counts) would not be evaluated, so that "
            "the weighted "
            "mean is not defined. Evaluate these subsets too (--subsets), or take their lines out of the file."
        )


def prevalence_column(counts: Mapping[Subset, float], modalities: Sequence[str]) -> Column:
    """Return the column of the weighted mean: ``sum_s w_s m_s`` with ``w_s = count_s / sum of counts``.

    m_s is the mean over cases under subset s. It is undefined if one of the subsets that occur has no score.
    """
    subsets = tuple(ordered_subsets(modalities, scored=tuple(counts)))
    total = sum(counts.values())
    return Column(HEADING, subsets, tuple(counts[subset] / total for subset in subsets))


def _lines(path: Path) -> list[tuple[int, str, str]]:
    """Return (number, subset, count) of every line below the headings.

    Raises:
        ValueError: the file cannot be read, a column is missing, or there is no line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or []]
            if not set(_COLUMNS) <= set(reader.fieldnames):
                raise ValueError(f"its first line must be subset,count, got {','.join(reader.fieldnames)[:80]!r}")
            lines = [(reader.line_num, line["subset"], line["count"]) for line in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not lines:
        raise ValueError(f"{path} has no line below its headings.")
    return lines


def _count(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -inf
    if not isfinite(value) or value < 0:
        raise ValueError(f"{path}, line {line}: a count is a number from 0, got {text.strip()!r}.")
    return value
