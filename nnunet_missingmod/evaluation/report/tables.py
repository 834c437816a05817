"""Tables of mean scores, region by subset of modalities, from tidy score rows.

Undefined scores (NaN) are left out of a cell's mean over cases, the cell keeps how many cases it averages, and a column
that averages several subsets is NaN as soon as one of them has no score, because an average over fewer subsets is not
comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

from numpy.typing import NDArray

from nnunet_missingmod.errors import listed
from nnunet_missingmod.evaluation.aggregation import CaseValues, Column, pool
from nnunet_missingmod.evaluation.conventions import BRATS, DICE, Convention, Metric
from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, SKEWED_FROM, Bootstrap, Interval, column_mean
from nnunet_missingmod.evaluation.model_order import Rank, ranks
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.statistics import (
    Comparison,
    compare_pairs,
    difference_intervals,
    value_intervals,
)

SIGNIFICANT = 0.05
"""A corrected p value below this is marked in tables and figures: with `AGREES`, or with `DISAGREES` where the ranks of
the test and the mean have opposite signs, as when one large loss outweighs many small wins."""
FAMILIES = (
    "single subsets and averages over subsets, each in single regions and in the mean of regions, are four families, "
    "and a column of the same subsets is one test in all tables"
)
AGREES = "*"
MINUS = " − "
DISAGREES = "†"


@dataclass(frozen=True)
class TableRow:
    """One line of a table: a model's scores, or a difference of two models, of one region.

    ``values`` are in the metric's own unit: 0..1 or mm (a difference signed), or NaN. ``counts`` says of each how many
    cases it averages: the fewest of its subsets'. ``intervals`` are there if they were asked for, and so are the
    corrected p values and ``marks`` of a difference: see `compare` and `SIGNIFICANT`.
    """

    region: str
    model: str
    values: tuple[float, ...]
    counts: tuple[int, ...]
    is_difference: bool = False
    intervals: tuple[Interval, ...] = ()
    p_holm: tuple[float, ...] = ()
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Columns, rows (a region's stand together), and how their values came about: metric, convention, tests.

    ``cases`` is how many there are, if that is known, and ``unruled`` as in `CaseValues`.
    """

    modalities: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    metric: Metric = DICE
    convention: Convention = BRATS
    confidence: float | None = None
    comparisons: tuple[Comparison, ...] = ()
    ranks: tuple[Rank, ...] = ()
    cases: int | None = None
    unruled: tuple[str, ...] = ()

    def note(self, *, intervals: bool = True) -> str:
        """Say what the cells are: metric, convention, intervals if shown, marks, and how many cases they average."""
        parts = [f"{self.metric.heading}, mean over cases; {self._ruling()}."]
        if self.confidence is not None and intervals:
            kind, start = ("studentised", SKEWED_FROM) if self.metric.skewed else ("expanded percentiles", SHOWN_FROM)
            parts.append(
                f"In brackets the {100 * self.confidence:g} % confidence interval, by bootstrap over patients "
                f"({kind}, from {start} patients on)."
            )
        if any(mark for row in self.rows for mark in row.marks):
            parts.append(
                f"{AGREES} p < {SIGNIFICANT:g} in Wilcoxon's signed-rank test over patients, after Holm's correction "
                f"within a family of a pair of models: {FAMILIES}."
            )
        if any(DISAGREES in row.marks for row in self.rows):
            parts.append(f"{DISAGREES} Likewise, but the ranks point the other way than the mean.")
        counts = {count for row in self.rows for count in row.counts}
        if len(counts) > 1 or (counts and self.cases is not None and max(counts) < self.cases):
            number = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(max(counts))
            of_all = "them" if self.cases is None else str(self.cases)
            parts.append(f"A cell averages the cases whose score is defined: {number} of {of_all}.")
        return " ".join(parts)

    def _ruling(self) -> str:
        """Say what empty masks score."""
        ruled = [row.model for row in self.rows if not row.is_difference and row.model not in self.unruled]
        if not ruled:
            return "empty masks score what the files of scores say"
        but = f"; those of {listed(self.unruled)}, what their files of scores say" if self.unruled else ""
        return self.convention.text(self.metric) + but


def region_table(
    rows: Iterable[ScoreRow],
    columns: Sequence[Column],
    *,
    modalities: Sequence[str],
    differences: Sequence[tuple[str, str]] = (),
    metric: Metric = DICE,
    convention: Convention | None = None,
) -> Table:
    """Return the table of every region and model of the score rows: `pool`, then `table_of`."""
    values = pool(rows, modalities=modalities, metric=metric, convention=convention)
    return table_of(values, columns, differences=differences)


def table_of(
    values: CaseValues,
    columns: Sequence[Column],
    *,
    differences: Sequence[tuple[str, str]] = (),
    bootstrap: Bootstrap | None = None,
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
    comparisons: Sequence[Comparison] | None = None,
) -> Table:
    """Return the table of every region and model, in the order of their first rows.

    Each pair (model, baseline) in ``differences`` adds a row per region with the mean of the cases' differences, model
    minus baseline, over the cases for which both have a score. Where both have one for every case this is the
    difference of the two rows. With ``bootstrap`` every cell has an interval, every difference a corrected p value, and
    every model a rank.
    ``regions`` groups regions, {"mean": ("WT", "TC", "ET")}; ``patients`` is as in `compare`. ``comparisons`` holds the
    tests of this and of other tables, so that a test has the same corrected p value in all of them; by default the
    table's own columns are compared.

    Raises:
        ValueError: a model of ``differences`` has no rows.
    """
    unknown = [name for pair in differences for name in pair if name not in values.models]
    if unknown:
        raise ValueError(f"{unknown[0]!r} has no score rows; the models are {', '.join(values.models)}.")
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    owners = values.owners(patients)
    if comparisons is None and bootstrap is not None:
        comparisons = compare_pairs(
            values,
            differences,
            columns=[column for column in columns if not column.weights],
            bootstrap=bootstrap,
            regions=groups,
            patients=patients,
        )
    compared = {(each.model, each.baseline, each.region, frozenset(each.subsets)): each for each in comparisons or ()}

    def test_of(model: str, baseline: str, region: str, column: Column) -> Comparison | None:
        if not compared or column.weights:
            return None
        return replace(compared[model, baseline, region, frozenset(column.subsets)], heading=column.heading)

    def weighed(scores: NDArray[Any], column: Column, regions: int) -> NDArray[Any]:
        """Return scores whose plain mean over columns is the weighted one."""
        weights = column.weights_of(regions)
        return scores if weights is None else scores * weights * len(weights)

    def cells(arrays: Sequence[NDArray[Any]], intervals: Callable[..., list[Interval]]) -> list[Interval]:
        if bootstrap is not None:
            return intervals(values, arrays, owners, bootstrap)
        return [Interval(mean, nan, nan, count) for mean, count in map(column_mean, arrays)]

    table_rows = []
    for region, members in groups.items():
        of_models = cells(
            [
                weighed(values.of(model, members, column.subsets), column, len(members))
                for model in values.models
                for column in columns
            ],
            value_intervals,
        )
        for position, model in enumerate(values.models):
            of_model = of_models[position * len(columns) : (position + 1) * len(columns)]
            table_rows.append(_row(region, model, of_model, with_intervals=bootstrap is not None))
        for model, baseline in differences:
            tests = [test_of(model, baseline, region, column) for column in columns]
            untested = [column for column, test in zip(columns, tests, strict=True) if test is None]
            found = iter(
                cells(
                    [
                        weighed(values.difference(model, baseline, members, column.subsets), column, len(members))
                        for column in untested
                    ],
                    difference_intervals,
                )
            )
            of_pair = [next(found) if test is None else test.difference for test in tests]
            line = _row(region, f"{model}{MINUS}{baseline}", of_pair, with_intervals=bootstrap is not None)
            p_holm = tuple(nan if test is None else test.p_holm for test in tests) if any(tests) else ()
            marks = tuple("" if test is None else _mark(test) for test in tests) if any(tests) else ()
            table_rows.append(replace(line, is_difference=True, p_holm=p_holm, marks=marks))
    return Table(
        cases=len(values.cases),
        unruled=values.unruled,
        modalities=values.modalities,
        columns=tuple(columns),
        rows=tuple(table_rows),
        metric=values.metric,
        convention=values.convention,
        confidence=None if bootstrap is None else bootstrap.confidence,
        comparisons=tuple(
            test
            for pair in differences
            for region in groups
            for test in (test_of(*pair, region, column) for column in columns)
            if test is not None
        ),
        ranks=()
        if bootstrap is None
        else tuple(
            ranks(
                values,
                columns=[column for column in columns if not column.weights],
                bootstrap=bootstrap,
                regions=groups,
                patients=patients,
            )
        ),
    )


def _mark(each: Comparison) -> str:
    """Return the mark of a difference: see `SIGNIFICANT`."""
    if not each.p_holm < SIGNIFICANT:
        return ""
    return AGREES if each.rank_sum * each.difference.mean > 0 else DISAGREES


def _row(region: str, model: str, cells: Sequence[Interval], *, with_intervals: bool) -> TableRow:
    return TableRow(
        region=region,
        model=model,
        values=tuple(cell.mean for cell in cells),
        counts=tuple(cell.count for cell in cells),
        intervals=tuple(cells) if with_intervals else (),
    )
