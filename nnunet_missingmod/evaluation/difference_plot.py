"""Differences between models subset by subset with their intervals: a panel per region, a line of marks per subset."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.canvas import INK, PALE, line_colour, panels, save_png
from nnunet_missingmod.evaluation.tables import AGREES, Table

# Sizes in inches.
_PANEL_WIDTH = 2.4
_LINE = 0.22
_MARGIN = 1.1
_COLUMNS = 5
_CHARACTER = 0.07


def difference_plot(table: Table, path: Path) -> None:
    """Draw the differences of a table: dots are means, full ones if significant (`AGREES`), bars their intervals.

    Raises:
        ValueError: the table has no differences with intervals.
    """
    rows = [row for row in table.rows if row.is_difference and row.intervals]
    if not rows:
        raise ValueError("A plot of differences needs a table that was made with differences and a bootstrap.")
    regions = list(dict.fromkeys(row.region for row in rows))
    pairs = list(dict.fromkeys(row.model for row in rows))
    names = [column.heading for column in table.columns]
    name_space = _CHARACTER * max(map(len, names))
    width = name_space + _PANEL_WIDTH * min(len(regions), _COLUMNS)
    height = (_MARGIN + _LINE * len(names) * max(1.0, 0.6 * len(pairs))) * -(-len(regions) // _COLUMNS)
    figure = Figure(figsize=(width, height), layout="constrained")
    of_region = panels(figure, len(regions), _COLUMNS)
    factor = table.metric.factor
    for axes, region in zip(of_region, regions, strict=True):
        axes.axvline(0, color=INK, linewidth=0.8)
        for row in rows:
            if row.region != region:
                continue
            pair = pairs.index(row.model)
            colour = line_colour(pair)
            shift = 0.6 * ((pair + 0.5) / len(pairs) - 0.5)
            for line, (interval, mark) in enumerate(zip(row.intervals, row.marks, strict=True)):
                y = line + shift
                axes.plot([factor * interval.low, factor * interval.high], [y, y], color=colour, linewidth=1.4)
                fill = colour if mark == AGREES else "white"
                axes.plot([factor * interval.mean], [y], "o", markersize=4.5, color=colour, markerfacecolor=fill)
        axes.set_title(region, fontsize=10, color=INK, weight="bold")
        axes.tick_params(labelsize=8.5, colors=INK)
        axes.grid(axis="x", color=PALE, linewidth=0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    of_region[0].set_yticks(range(len(names)), names)
    of_region[0].set_ylim(len(names) - 0.5, -0.5)
    better = "right" if table.metric.higher_is_better else "left"
    unit = "points" if table.metric.unit == "%" else table.metric.unit
    figure.supxlabel(f"difference in {table.metric.label} ({unit}); better to the {better}", fontsize=9, color=INK)
    handles = [
        of_region[0].plot([], [], "o-", markersize=4.5, color=line_colour(i), lw=1.4)[0] for i in range(len(pairs))
    ]
    figure.legend(handles, pairs, loc="outside upper center", frameon=False, fontsize=9, labelcolor=INK)
    save_png(figure, path)
