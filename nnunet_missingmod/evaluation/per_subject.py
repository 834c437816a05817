"""Scores with a line per subject and subset of modalities, a pair of columns per region: the form of MiMoSe's results.

The columns are ``subject``, ``modalities``, ``WT_dice`` and so on, ``WT_hd95`` and so on. It is read to put a model
whose scores are there, and nothing else, into the tables; the report writes it for programs that read this form.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan
from pathlib import Path

from nnunet_missingmod.errors import listed
from nnunet_missingmod.evaluation.conventions import DICE, HD95, Convention
from nnunet_missingmod.evaluation.csv_rows import refuse_semicolons
from nnunet_missingmod.evaluation.scores import UNKNOWN_VOXELS, ScoreRow
from nnunet_missingmod.modalities import subset_name
from nnunet_missingmod.storage import write_text
from nnunet_missingmod.subset_notation import read_subsets

_SUBJECT, _MODALITIES, _MODEL, _FOLD = "subject", "modalities", "model", "fold"
_DICE, _HD95 = "dice", "hd95"
# No share exceeds 1, and a file in percent has a Dice of more than 1.5 %.
_MOST_OF_A_SHARE = 1.5


@dataclass(frozen=True)
class PerSubjectScores:
    """What a file of scores holds: its rows, and sentences on how it was read."""

    rows: list[ScoreRow]
    notes: tuple[str, ...]


def write_per_subject(rows: Iterable[ScoreRow], path: Path, *, convention: Convention) -> None:
    """Write scores with a line per model, fold, subject and subset, after the convention; undefined ones are empty.

    ``dice`` is in 0..1 and ``hd95`` in mm. Columns ``model`` and ``fold`` stand last, after those of the regions.
    """
    rows = list(rows)
    regions = list(dict.fromkeys(row.region for row in rows))
    lines: dict[tuple[str, str, str, str], dict[str, ScoreRow]] = {}
    for row in rows:
        lines.setdefault((row.case, row.subset, row.model, row.fold), {})[row.region] = row
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [(region, metric) for metric in (DICE, HD95) for region in regions]
    headings = [f"{region}_{_DICE if metric == DICE else _HD95}" for region, metric in columns]
    writer.writerow([_SUBJECT, _MODALITIES, *headings, _MODEL, _FOLD])
    for (case, subset, model, fold), of_line in lines.items():
        values = [convention.value(of_line[region], metric) if region in of_line else nan for region, metric in columns]
        writer.writerow([case, subset, *("" if isnan(value) else value for value in values), model, fold])
    write_text(path, text.getvalue())


def read_per_subject(
    path: Path,
    *,
    model: str,
    fold: str,
    named: Sequence[str],
    regions: Sequence[str],
    modalities: Sequence[str],
    tolerance_mm: float,
) -> PerSubjectScores:
    """Read a file of scores; what empty masks score is what the file says, since it has no volumes.

    Headings and modalities are read in upper or lower case, modalities as by `read_subsets`. An empty cell and ``nan``
    are undefined. Dice is in 0..1, or in percent if the file has one above 1.5.

    Args:
        model, fold: of the rows. A fold of the file's own is appended to ``fold``.
        named: which model of a file of several, by one of these names in its column ``model``; of a file of one it may
            be any.
        regions: of the dataset; one without a column has no rows.
        modalities: the J names in channel order.
        tolerance_mm: of the surface Dice of other models; the rows have none.

    Raises:
        ValueError: a column is missing, a line cannot be read or stands twice, or none is of the model; the file and
            the line are named.
    """
    columns = {region: (f"{region}_{_DICE}".strip(), f"{region}_{_HD95}".strip()) for region in regions}
    lines = _lines(path, [_SUBJECT, _MODALITIES, _MODEL, _FOLD, *(name for pair in columns.values() for name in pair)])
    _, first = lines[0]
    missing = [column for column in (_SUBJECT, _MODALITIES) if column not in first]
    measured = [region for region in regions if columns[region][0] in first]
    if missing or not measured:
        expected = ", ".join([_SUBJECT, _MODALITIES, *(f"{region}_{_DICE}, {region}_{_HD95}" for region in regions)])
        lacks = ", ".join([*missing, *([] if measured else [f"{region}_{_DICE}" for region in regions])])
        raise ValueError(f"{path} lacks the column {lacks}; expected {expected}.")
    lines = _of_model(lines, named, path)
    try:
        subsets = read_subsets((line[_MODALITIES] for _, line in lines), modalities)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    rows: list[ScoreRow] = []
    seen: dict[tuple[str, tuple[int, ...], str], int] = {}
    for number, line in lines:
        subset, subject = subsets.get(line[_MODALITIES]), line[_SUBJECT].strip()
        if subset is None or not subject:
            what = "no subject" if subset is not None else f"no subset of {', '.join(modalities)}"
            raise ValueError(f"{path}, line {number}: {line[_MODALITIES if subject else _SUBJECT]!r} is {what}.")
        of_run = " ".join(filter(None, (fold, line.get(_FOLD, "").strip())))
        name = subset_name(subset, modalities)
        other = seen.setdefault((subject, subset, of_run), number)
        if other != number:
            raise ValueError(f"{path}: lines {other} and {number} are both {subject} with {name}: keep one of them.")
        for region in measured:
            dice, hd95 = (_number(line.get(column, ""), column, path, number) for column in columns[region])
            rows.append(
                ScoreRow(
                    model=model,
                    fold=of_run,
                    case=subject,
                    subset=name,
                    num_present=len(subset),
                    region=region,
                    dice=dice,
                    hd95_mm=hd95,
                    nsd=nan,
                    nsd_tolerance_mm=tolerance_mm,
                    reference_voxels=UNKNOWN_VOXELS,
                    predicted_voxels=UNKNOWN_VOXELS,
                    diagonal_mm=nan,
                )
            )
    notes = []
    if unmeasured := [region for region in regions if region not in measured]:
        notes.append(f"{path} has no region {', '.join(unmeasured)}.")
    if without := [region for region in measured if columns[region][1] not in first]:
        notes.append(f"{path} has no HD95 of {', '.join(without)}.")
    return _in_shares(rows, path, notes)


def _lines(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a CSV file with their numbers, {column: text} of those columns that it has.

    Raises:
        ValueError: it cannot be read, has a column twice or no line, or one with more or fewer cells than headings.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            headings = [name.strip() for name in next(reader, [])]
            refuse_semicolons(headings, path)
            numbered = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: save it as CSV in UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not numbered:
        raise ValueError(f"{path} has no line below its headings.")
    places = _places(columns, headings, path)
    for number, cells in numbered:
        if len(cells) != len(headings):
            why = (
                "are decimals written with a comma? Write them with a point, as in 0.9"
                if len(cells) > len(headings)
                else "is the line torn? Leave the cell of an undefined score empty, but keep its comma"
            )
            raise ValueError(f"{path}, line {number} has {len(cells)} cells under {len(headings)} headings: {why}.")
    return [(number, {column: cells[place] for column, place in places.items()}) for number, cells in numbered]


def _places(columns: Sequence[str], headings: Sequence[str], path: Path) -> dict[str, int]:
    """Return where each column stands: under its name in upper or lower case, or as it is where two differ in that."""
    places: dict[str, int] = {}
    by_case = Counter(column.casefold() for column in columns)
    for column in columns:
        if by_case[column.casefold()] > 1:
            found = [place for place, heading in enumerate(headings) if heading == column]
        else:
            found = [place for place, heading in enumerate(headings) if heading.casefold() == column.casefold()]
        if len(found) > 1:
            raise ValueError(f"{path} has the column {column} twice: keep one of them.")
        if found:
            places[column] = found[0]
    return places


def _of_model(
    lines: list[tuple[int, dict[str, str]]], named: Sequence[str], path: Path
) -> list[tuple[int, dict[str, str]]]:
    models = dict.fromkeys(line.get(_MODEL, "") for _, line in lines)
    if len(models) == 1:
        return lines
    chosen = [(number, line) for number, line in lines if line[_MODEL] in named]
    if not chosen:
        raise ValueError(
            f"{path} has the models {listed(list(models))}, and no {named[0]!r}: give NAME=FILE as one of them."
        )
    return chosen


def _number(text: str, column: str, path: Path, line: int) -> float:
    """Return a cell as a number, an empty one as NaN.

    Raises:
        ValueError: it is none, or negative, infinite, or a Dice of more than 100.
    """
    if not text.strip():
        return nan
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{path}, line {line}: {column} is {text!r}, which is no number.") from None
    if isnan(value):
        return nan
    if not isfinite(value) and value > 0 and column.endswith(_HD95):
        raise ValueError(
            f"{path}, line {line}: {column} is {text.strip()}, which has no mean: write what the file scores a missed "
            "region by (BraTS: 373.13), or leave the cell empty if it is undefined."
        )
    if not 0 <= value < (100.0000001 if column.endswith(_DICE) else float("inf")):
        raise ValueError(f"{path}, line {line}: {column} is {text.strip()}, which is out of its range.")
    return value


def _in_shares(rows: list[ScoreRow], path: Path, notes: list[str]) -> PerSubjectScores:
    highest = max((row.dice for row in rows if not isnan(row.dice)), default=nan)
    if highest > _MOST_OF_A_SHARE:
        notes.append(f"Dice in {path} is taken as percent: the highest is {highest:g}.")
        rows = [ScoreRow(**{**vars(row), "dice": row.dice / DICE.factor}) for row in rows]
    elif highest > 1:
        raise ValueError(f"{path} has a Dice of {highest}: it is a share from 0 to 1, or in percent.")
    return PerSubjectScores(rows, tuple(notes))
