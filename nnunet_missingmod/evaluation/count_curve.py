"""Scores against the number of present modalities: a panel per region, a line per model with its confidence band."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.canvas import INK, PALE, line_colour, panels, save_png
from nnunet_missingmod.evaluation.tables import Table

# Sizes in inches.
_PANEL = (2.9, 2.6)
_LEGEND = 0.3
_COLUMNS = 5
_CHARACTER = 0.075


def count_curve(table: Table, path: Path) -> None:
    """Draw a table of `count_columns`: its averages over all subsets and its differences are left out.

    Bands are the table's intervals; a table without intervals gives lines alone. Undefined values leave a gap.

    Raises:
        ValueError: no column averages the subsets of one size.
    """
    sizes = [{len(subset) for subset in column.subsets} for column in table.columns]
    chosen = [index for index, of_column in enumerate(sizes) if len(of_column) == 1]
    present = [next(iter(sizes[index])) for index in chosen]
    if not chosen or len(set(present)) != len(present):
        raise ValueError("A curve over the number of present modalities needs a table made with count_columns.")
    regions = list(dict.fromkeys(row.region for row in table.rows))
    models = list(dict.fromkeys(row.model for row in table.rows if not row.is_difference))
    rows = -(-len(regions) // _COLUMNS)
    width = _PANEL[0] * min(len(regions), _COLUMNS)
    beside = max(1, int(width // (_CHARACTER * max(map(len, models)) + 0.6)))
    size = (width, _PANEL[1] * rows + _LEGEND * -(-len(models) // beside))
    figure = Figure(figsize=size, layout="constrained")
    of_region = panels(figure, len(regions), _COLUMNS)
    for axes, region in zip(of_region, regions, strict=True):
        for row in table.rows:
            if row.region != region or row.is_difference:
                continue
            colour = line_colour(models.index(row.model))
            factor = table.metric.factor
            axes.plot(present, [factor * row.values[i] for i in chosen], "o-", markersize=4, color=colour, lw=1.5)
            if row.intervals:
                low = [factor * row.intervals[i].low for i in chosen]
                high = [factor * row.intervals[i].high for i in chosen]
                axes.fill_between(present, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.set_title(region, fontsize=10, color=INK, weight="bold")
        axes.set_xticks(present)
        axes.set_xlabel("modalities present", fontsize=9, color=INK)
        axes.tick_params(labelsize=8.5, colors=INK)
        axes.grid(axis="y", color=PALE, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in of_region[::_COLUMNS]:
        axes.set_ylabel(table.metric.heading, fontsize=9, color=INK)
    handles = [
        of_region[0].plot([], [], "o-", markersize=4, color=line_colour(i), lw=1.5)[0] for i in range(len(models))
    ]
    figure.legend(handles, models, loc="outside lower center", ncols=beside, frameon=False, fontsize=9, labelcolor=INK)
    save_png(figure, path)
