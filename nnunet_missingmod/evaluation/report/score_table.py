"""A region's scores of one metric as a table of texts: a line per column of the tables, a column per model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isnan

from nnunet_missingmod.evaluation.aggregation import Column
from nnunet_missingmod.evaluation.report.leading import Cell, Lead
from nnunet_missingmod.evaluation.report.tables import Table, TableRow
from nnunet_missingmod.evaluation.report.text import cell_texts, shown
from nnunet_missingmod.modalities import Subset

ColumnKey = tuple[str, frozenset[Subset]]
"""A column's heading and subsets, in whatever order a table averages them."""


def column_key(column: Column) -> ColumnKey:
    """Return what two columns share that are shown as one line."""
    return column.heading, frozenset(column.subsets)


@dataclass(frozen=True)
class ScoreCell:
    """A mean with the marks of its test, its interval in brackets or nothing, and the mark of `Lead`.

    ``lead`` is None where nothing can lead: in differences, and where no leads were asked for.
    """

    mean: str
    interval: str = ""
    lead: str | None = None


@dataclass(frozen=True)
class ScoreLine:
    """A line of a `ScoreTable`: whether each modality is present, or no dots but a heading; then a cell per model.

    ``begins_group`` is there if the line before has another number of modalities.
    """

    key: ColumnKey
    dots: tuple[bool, ...]
    cells: tuple[ScoreCell, ...]
    is_average: bool
    begins_group: bool = False

    @property
    def heading(self) -> str:
        """The column's heading; of a single subset, its name."""
        return self.key[0]


@dataclass(frozen=True)
class ScoreTable:
    """One region of a metric, turned so that columns are lines and models are columns, as text.

    ``names`` stand above the dots: the modalities, or what the headings are where no line has dots.
    """

    names: tuple[str, ...]
    models: tuple[str, ...]
    lines: tuple[ScoreLine, ...]

    @property
    def has_dots(self) -> bool:
        """Whether ``names`` are modalities, with dots below them."""
        return any(line.dots for line in self.lines)


def score_table(tables: Sequence[Table], region: str, leads: Mapping[Cell, Lead] | None = None) -> ScoreTable:
    """Return one region of tables that have the same rows, turned; a column that several have is shown once.

    Columns of one subset come first, then those that average some, at the end the average over all.
    """
    modalities = tables[0].modalities
    models = tuple(row.model for row in tables[0].rows if row.region == region)
    lines: dict[ColumnKey, ScoreLine] = {}
    for table in tables:
        rows = [row for row in table.rows if row.region == region]
        texts = [_cells(row, table, leads or {}) for row in rows]
        for index, column in enumerate(table.columns):
            dots = tuple(channel in column.subsets[0] for channel in range(len(modalities)))
            line = ScoreLine(
                key=column_key(column),
                dots=dots if column.is_subset_of(modalities) else (),
                cells=tuple(of_row[index] for of_row in texts),
                is_average=column.heading.startswith("average") and not column.is_subset_of(modalities),
            )
            lines.setdefault(column_key(column), line)
    names = modalities if any(line.dots for line in lines.values()) else ("modalities present",)
    in_order = sorted(lines.values(), key=lambda line: (line.is_average, not line.dots))
    return ScoreTable(names, models, tuple(_in_groups(in_order)))


def _in_groups(lines: Sequence[ScoreLine]) -> Iterable[ScoreLine]:
    """Yield the lines, told where a new number of modalities, or the first heading, begins."""
    groups = [sum(line.dots) if line.dots else -1 for line in lines]
    begins = [False, *(before != after for before, after in pairwise(groups))]
    for line, begins_group in zip(lines, begins, strict=True):
        yield replace(line, begins_group=begins_group)


def _cells(row: TableRow, table: Table, leads: Mapping[Cell, Lead]) -> list[ScoreCell]:
    """Return a row as cells; a difference of models and a weighted mean lead nothing."""
    means = cell_texts(row, table.metric, intervals=False)
    cells = []
    for index, column in enumerate(table.columns):
        leads_nothing = row.is_difference or bool(column.weights)
        lead = None if leads_nothing else leads.get((row.region, frozenset(column.subsets)))
        cells.append(ScoreCell(means[index], _interval(row, index, table), lead.mark(row.model) if lead else None))
    return cells


def _interval(row: TableRow, index: int, table: Table) -> str:
    if not row.intervals or isnan(row.intervals[index].low):
        return ""
    interval = row.intervals[index]
    low, high = (shown(end, table.metric, signed=row.is_difference) for end in (interval.low, interval.high))
    return f"({low} to {high})"
