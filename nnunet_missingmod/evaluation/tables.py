"""Tables of mean scores, region by subset of modalities, from tidy score rows; as Markdown or CSV.

Undefined scores (NaN) are handled in one place, `region_table`: they are left out of a cell's mean over cases, the cell
keeps how many cases it averages, and a column that averages several subsets is NaN as soon as one of them has no score,
because an average over fewer subsets is not comparable.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean

from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, all_subsets, subset_name

# The column order of the missing-modality literature on BraTS, from RFNet (Ding et al. 2021) on.
_BRATS_ORDER = (
    ("flair",),
    ("t2",),
    ("t1ce",),
    ("t1",),
    ("t2", "flair"),
    ("t1ce", "flair"),
    ("t1ce", "t2"),
    ("t1", "flair"),
    ("t1", "t2"),
    ("t1", "t1ce"),
    ("flair", "t1ce", "t2"),
    ("flair", "t1", "t2"),
    ("flair", "t1", "t1ce"),
    ("t1", "t1ce", "t2"),
    ("flair", "t1", "t1ce", "t2"),
)


@dataclass(frozen=True)
class Column:
    """A column of a table: the mean over ``subsets`` of the mean over cases."""

    heading: str
    subsets: tuple[Subset, ...]


@dataclass(frozen=True)
class TableRow:
    """One line of a table: a model's scores, or a difference of two models, of one region.

    ``values`` are in 0..1 (a difference in -1..1), or NaN. ``counts`` says of each how many cases it averages: the
    fewest of its subsets'.
    """

    region: str
    model: str
    values: tuple[float, ...]
    counts: tuple[int, ...]
    is_difference: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows; the rows of one region lie beside each other."""

    modalities: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]


def ordered_subsets(modalities: Sequence[str]) -> list[Subset]:
    """Return every subset of channels in the order of the papers' columns.

    For FLAIR, T1, T1ce and T2 (any channel order, any case of letters) that is: the single modalities FLAIR, T2, T1ce,
    T1; the pairs; all but T1, T1ce, T2, FLAIR; all four. For other modalities it is the order of `all_subsets`.
    """
    channel = {name.casefold(): position for position, name in enumerate(modalities)}
    if len(modalities) == 4 and set(channel) == set(_BRATS_ORDER[-1]):
        return [tuple(sorted(channel[name] for name in names)) for names in _BRATS_ORDER]
    return all_subsets(len(modalities))


def subset_columns(modalities: Sequence[str]) -> tuple[Column, ...]:
    """Return a column for every subset, in the order of `ordered_subsets`, and their average."""
    subsets = ordered_subsets(modalities)
    single = [Column(subset_name(subset, modalities), (subset,)) for subset in subsets]
    return (*single, Column("average", tuple(subsets)))


def count_columns(modalities: Sequence[str]) -> tuple[Column, ...]:
    """Return a column for every number of present modalities, averaging the subsets of that size, and the average."""
    subsets = all_subsets(len(modalities))
    by_size = [
        Column(f"{size} of {len(modalities)}", tuple(subset for subset in subsets if len(subset) == size))
        for size in range(1, len(modalities) + 1)
    ]
    return (*by_size, Column("average", tuple(subsets)))


def region_table(
    rows: Iterable[ScoreRow],
    columns: Sequence[Column],
    *,
    modalities: Sequence[str],
    differences: Sequence[tuple[str, str]] = (),
) -> Table:
    """Return the table of every region and model of the score rows, in the order of their first rows.

    Each pair (model, baseline) in ``differences`` adds a row per region with the mean of the cases' differences, model
    minus baseline, over the cases for which both have a score. Where both have one for every case this is the
    difference of the two rows.

    Raises:
        ValueError: there are no rows, a score occurs twice, a subset is none of the modalities', or a model of
        ``differences`` has
            no rows.
    """
    channels = {subset_name(subset, modalities): subset for subset in all_subsets(len(modalities))}
    scores: defaultdict[tuple[str, str], dict[tuple[Subset, str], float]] = defaultdict(dict)
    regions: dict[str, None] = {}
    models: dict[str, None] = {}
    for row in rows:
        if row.subset not in channels:
            raise ValueError(f"{row.case}: {row.subset!r} is no subset of {', '.join(modalities)}.")
        of_row, key = scores[row.region, row.model], (channels[row.subset], row.case)
        if key in of_row:
            raise ValueError(
                f"{row.model}, {row.case}, {row.subset}, {row.region} is scored twice: keep one of the rows."
            )
        of_row[key] = row.dice
        regions.setdefault(row.region)
        models.setdefault(row.model)
    if not regions:
        raise ValueError("There are no score rows to make a table of.")
    unknown = [name for pair in differences for name in pair if name not in models]
    if unknown:
        raise ValueError(f"{unknown[0]!r} has no score rows; the models are {', '.join(models)}.")

    table_rows = []
    for region in regions:
        table_rows += [_table_row(region, model, scores[region, model], columns) for model in models]
        for model, baseline in differences:
            ours, theirs = scores[region, model], scores[region, baseline]
            paired = {key: ours[key] - theirs[key] for key in ours if key in theirs}
            table_rows.append(_table_row(region, f"{model} − {baseline}", paired, columns, is_difference=True))
    return Table(tuple(modalities), tuple(columns), tuple(table_rows))


def _table_row(
    region: str,
    model: str,
    scores: Mapping[tuple[Subset, str], float],
    columns: Sequence[Column],
    *,
    is_difference: bool = False,
) -> TableRow:
    defined: defaultdict[Subset, list[float]] = defaultdict(list)
    for (subset, _), value in scores.items():
        if not isnan(value):
            defined[subset].append(value)
    means = {subset: fmean(values) for subset, values in defined.items()}
    return TableRow(
        region=region,
        model=model,
        values=tuple(fmean(means.get(subset, nan) for subset in column.subsets) for column in columns),
        counts=tuple(min(len(defined.get(subset, ())) for subset in column.subsets) for column in columns),
        is_difference=is_difference,
    )


def percent(value: float, *, signed: bool = False, decimals: int = 2) -> str:
    """Return a score as text in percent, ``"87.35"``; a difference with its sign; NaN as ``"n/a"``."""
    if isnan(value):
        return "n/a"
    return f"{100 * value:{'+' if signed else ''}.{decimals}f}"


def to_markdown(table: Table, *, subsets_as_rows: bool = False) -> str:
    """Return the table in Markdown, scores in percent; upright, one line per subset, with ``subsets_as_rows``.

    The upright form has a column of dots for every modality, as printed tables have. Below the table stands a line on
    how many cases the cells average if that is not the same for all.
    """
    texts = [[percent(value, signed=row.is_difference) for value in row.values] for row in table.rows]
    if subsets_as_rows:
        head = [*table.modalities, *(f"{row.region} {row.model}" for row in table.rows)]
        marks = [_dots(column, table.modalities) for column in table.columns]
        body = [[*mark, *(text[index] for text in texts)] for index, mark in enumerate(marks)]
        names = len(table.modalities)
        align = [":-:"] * names + ["--:"] * len(table.rows)
    else:
        head = ["region", "model", *(column.heading for column in table.columns)]
        body = [[row.region, row.model, *text] for row, text in zip(table.rows, texts, strict=True)]
        align = ["---", "---"] + ["--:"] * len(table.columns)
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (head, align, *body)]
    counts = {count for row in table.rows for count in row.counts}
    if len(counts) > 1:
        lines += ["", f"A cell averages the cases whose score is defined: {min(counts)} to {max(counts)} of them."]
    return "\n".join(lines) + "\n"


def _dots(column: Column, modalities: Sequence[str]) -> list[str]:
    if len(column.subsets) == 1:
        return ["●" if channel in column.subsets[0] else "○" for channel in range(len(modalities))]
    return [column.heading] + [""] * (len(modalities) - 1)


def to_csv(table: Table) -> str:
    """Return the table as CSV text: region, model, then the columns in full precision, as fractions, NaN as ``nan``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["region", "model", *(column.heading for column in table.columns)])
    writer.writerows([row.region, row.model, *row.values] for row in table.rows)
    return text.getvalue()
