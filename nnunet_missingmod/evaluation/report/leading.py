"""Which model leads in a cell of a table, and which others cannot be told from it.

A best mean alone says little: the models that no test tells from it are named with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose, isnan

from nnunet_missingmod.evaluation.conventions import Metric
from nnunet_missingmod.evaluation.intervals import Interval
from nnunet_missingmod.evaluation.report.tables import SIGNIFICANT, Table
from nnunet_missingmod.evaluation.statistics import Comparison
from nnunet_missingmod.modalities import Subset

LEADS = "◆"
"""Marks the best mean of a cell, and means that equal it."""
NEAR = "≈"
"""Marks the models that cannot be told from the one with the best mean: see `is_behind`."""
AHEAD = "▲"
"""Marks models that are ahead of the one with the best mean on the cases that both have: means are of other cases."""
# Means that differ by less are equal: it is a rounding error.
_ZERO = 1e-9

Cell = tuple[str, frozenset[Subset]]
"""A region and the subsets of a column: what a cell of a table is about, whatever the column is called."""


@dataclass(frozen=True)
class Lead:
    """The order of the models in one cell.

    ``models`` are those with a score, best first; ``equal`` are those whose mean is the best. ``gaps`` holds the
    comparison of the first model with each other one, the first minus the other.
    """

    metric: Metric
    models: tuple[str, ...]
    equal: frozenset[str]
    gaps: Mapping[str, Comparison]

    def mark(self, model: str) -> str:
        """Return `LEADS`, `NEAR` or nothing; a model that is alone has no mark."""
        if len(self.models) < 2 or model not in self.models:
            return ""
        if model in self.equal:
            return LEADS
        if is_behind(_turned(self.gaps[model]), self.metric):
            return AHEAD
        return "" if is_behind(self.gaps[model], self.metric) else NEAR


def is_behind(gap: Comparison, metric: Metric) -> bool:
    """Return whether a model is told apart from the leading one, from the comparison of the leading one with it.

    It is if the interval of the mean difference leaves out 0, p after Holm's correction is below `SIGNIFICANT`, and the
    ranks point the way of the mean. Without an interval or a test it is not. The interval alone would tell three
    patients apart; the test alone speaks of ranks, while tables show means.
    """
    sign = 1.0 if metric.higher_is_better else -1.0
    leaves_out_zero = min(sign * gap.difference.low, sign * gap.difference.high) > 0
    return leaves_out_zero and gap.p_holm < SIGNIFICANT and sign * gap.rank_sum > 0


def leads(tables: Sequence[Table], comparisons: Iterable[Comparison]) -> dict[Cell, Lead]:
    """Return the order of the models in every cell of tables of one metric.

    Args:
        tables: of one metric, with the means.
        comparisons: of the pairs in the tables, and of those that `further_pairs` names.

    Raises:
        ValueError: a model was not compared with the leading one.
    """
    compared = {((each.region, frozenset(each.subsets)), each.model, each.baseline): each for each in comparisons}

    def gap(model: str, other: str, cell: Cell) -> Comparison:
        if (cell, model, other) in compared:
            return compared[cell, model, other]
        if (cell, other, model) in compared:
            return _turned(compared[cell, other, model])
        raise ValueError(f"{model!r} leads in {cell[0]} and was not compared with {other!r}: see further_pairs.")

    found = {}
    for table in tables:
        for cell, means in _means(table).items():
            models = tuple(means)
            equal = frozenset(model for model in models if isclose(means[model], means[models[0]], abs_tol=_ZERO))
            gaps = {other: gap(models[0], other, cell) for other in models[1:]}
            found[cell] = Lead(table.metric, models, equal, gaps)
    return found


def further_pairs(tables: Sequence[Table], pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs (leading model, other model) of any cell that are not among ``pairs``, in either order."""
    known = {frozenset(pair) for pair in pairs}
    further: dict[frozenset[str], tuple[str, str]] = {}
    for table in tables:
        for means in _means(table).values():
            first, *others = means or [""]
            for other in others:
                if frozenset((first, other)) not in known:
                    further.setdefault(frozenset((first, other)), (first, other))
    return list(further.values())


def _means(table: Table) -> dict[Cell, dict[str, float]]:
    """Return the defined means of every cell by model, best first; of equal ones, in the order of the table."""
    sign = -1.0 if table.metric.higher_is_better else 1.0
    cells: dict[Cell, dict[str, float]] = {}
    for row in table.rows:
        if row.is_difference:
            continue
        for column, value in zip(table.columns, row.values, strict=True):
            if column.weights:  # it has no test
                continue
            of_cell = cells.setdefault((row.region, frozenset(column.subsets)), {})
            if not isnan(value):
                of_cell[row.model] = value
    return {cell: dict(sorted(of_cell.items(), key=lambda item: sign * item[1])) for cell, of_cell in cells.items()}


def _turned(each: Comparison) -> Comparison:
    """Return the comparison of the baseline with the model."""
    interval = each.difference
    return replace(
        each,
        model=each.baseline,
        baseline=each.model,
        difference=Interval(-interval.mean, -interval.high, -interval.low, interval.count),
        wins=each.losses,
        losses=each.wins,
        rank_sum=-each.rank_sum,
    )
