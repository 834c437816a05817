"""A table of scores as a heatmap: dots below say which modalities a column has."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from math import ceil, floor, isnan
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nnunet_missingmod.evaluation.aggregation import Column
from nnunet_missingmod.evaluation.conventions import Metric
from nnunet_missingmod.evaluation.report.figures import INK, PALE, plain, save_png, shortened
from nnunet_missingmod.evaluation.report.tables import Table
from nnunet_missingmod.evaluation.report.text import shown

# ColorBrewer's, both safe for colour-blind readers.
_SCORE_COLOURS = "YlGnBu"
_DIFFERENCE_COLOURS = "PuOr"
# Sizes in inches. A gap stands between columns with different numbers of modalities, and between regions.
_CELL = (0.5, 0.3)
_GAP = 0.08
_DOT_ROW = 0.2
_LETTER = 0.07
_BOLD_LETTER = 0.095
_LEAST_BAR = 0.8
_BETWEEN_BARS = 0.3


def heatmap(
    table: Table,
    path: Path,
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    undefined: str = "n/a",
) -> None:
    """Draw a table: a row per region and model, a column per subset, scores in the cells, better ones darker.

    Under each column, dots show which modalities are present (dark) and absent (pale). Columns that average several
    subsets stand apart and bear their heading. Differences have colours of their own, purple for better and orange for
    worse. ``limits`` are the scores at the ends of the colours, as shown (percent, mm); by default the tens around the
    table's scores. ``undefined`` is written on cells without value.
    """
    models = {row.model for row in table.rows}
    model_space = _LETTER * max(len(shortened(model)) for model in models) if len(models) > 1 else 0.0
    names = _BOLD_LETTER * max(len(shortened(row.region)) for row in table.rows)
    left = max(names + model_space, _LETTER * max(len(shortened(name)) for name in table.modalities)) + 0.3
    right = 0.8
    xs, width = _positions([_group(column) for column in table.columns], _CELL[0])
    ys, height = _positions([row.region for row in table.rows], _CELL[1])
    top, bottom = 0.45 if title else 0.12, (_DOT_ROW * len(table.modalities) if _has_dots(table) else _DOT_ROW) + 0.16
    total_width, total_height = left + width + right, top + max(height + bottom, _LEAST_BAR)
    figure = Figure(figsize=(total_width, total_height))
    # One set of axes in inches from the top left cell's corner: text, cells and dots share it.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-left, total_width - left), ylim=(total_height - top, -top))
    axes.axis("off")

    scores = _score_scale(table, limits)
    differences = _difference_scale(table)
    for row, y in zip(table.rows, ys, strict=True):
        scale = differences if row.is_difference else scores
        for x, value in zip(xs, row.values, strict=True):
            text = undefined if isnan(value) else shown(value, table.metric, signed=row.is_difference, decimals=1)
            _draw_cell(axes, (x, y), table.metric.factor * value, scale, text)
        if len(models) > 1:
            axes.text(-0.1, y + _CELL[1] / 2, shortened(row.model), ha="right", va="center", fontsize=9, color=INK)
    for region in dict.fromkeys(row.region for row in table.rows):
        members = [y for row, y in zip(table.rows, ys, strict=True) if row.region == region]
        middle = (members[0] + members[-1] + _CELL[1]) / 2
        region_x = -0.1 - model_space - (0.1 if model_space else 0)
        axes.text(region_x, middle, shortened(region), ha="right", va="center", fontsize=10, color=INK, weight="bold")
    _draw_dots(axes, table, [x + _CELL[0] / 2 for x in xs], top=height + 0.08)
    _draw_bars(figure, axes, table, scores, differences, left=width + 0.15, height=max(height, _LEAST_BAR))
    if title:
        axes.text(0, -0.24, plain(title), ha="left", va="center", fontsize=11, color=INK, weight="bold")
    save_png(figure, path)


def _group(column: Column) -> Hashable:
    """Return what neighbouring columns must share to stand without a gap: the number of present modalities."""
    return len(column.subsets[0]) if len(column.subsets) == 1 else column.heading


def _positions(groups: Sequence[Hashable], size: float) -> tuple[list[float], float]:
    """Return where each cell begins, with a gap wherever the group changes, and where the last one ends."""
    starts = [0.0]
    for before, after in pairwise(groups):
        starts.append(starts[-1] + size + (_GAP if before != after else 0.0))
    return starts, starts[-1] + size


def _score_scale(table: Table, limits: tuple[float, float] | None) -> ScalarMappable:
    """Return the colours of scores, between ``limits`` or else between the tens around the table's scores."""
    values = [table.metric.factor * value for row in table.rows if not row.is_difference for value in row.values]
    defined = [value for value in values if not isnan(value)]
    low, high = limits or (10 * floor(min(defined, default=0) / 10), 10 * ceil(max(defined, default=100) / 10))
    return _colours(low, high if high > low else low + 10, _SCORE_COLOURS, table.metric)


def _difference_scale(table: Table) -> ScalarMappable:
    """Return the colours of differences, white at zero, to one percent or mm at least, or noise would look strong."""
    values = [table.metric.factor * abs(value) for row in table.rows if row.is_difference for value in row.values]
    most = max(ceil(max((value for value in values if not isnan(value)), default=1)), 1)
    return _colours(-most, most, _DIFFERENCE_COLOURS, table.metric)


def _colours(low: float, high: float, name: str, metric: Metric) -> ScalarMappable:
    """Return a colour map over shown values, turned round where lower is better."""
    return ScalarMappable(Normalize(low, high), matplotlib.colormaps[name if metric.higher_is_better else f"{name}_r"])


def _draw_cell(axes: Axes, corner: tuple[float, float], value: float, scale: ScalarMappable, text: str) -> None:
    """Draw a value in the colour of its scale, grey if it is undefined, with a text on it in ink or white."""
    colour = (0.95, 0.95, 0.95, 1.0) if isnan(value) else scale.to_rgba(np.asarray(value))
    # Unlike add_patch it does not look for the axes' limits, which are set, and takes a fraction of the time.
    axes.add_artist(Rectangle(corner, *_CELL, facecolor=colour, edgecolor="white", linewidth=1))
    if not text:
        return
    # Relative luminance of sRGB; 0.21 is where white and ink contrast alike (WCAG 2).
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), np.power(colour[:3], 2.2)))
    axes.text(
        corner[0] + _CELL[0] / 2,
        corner[1] + _CELL[1] / 2,
        text,
        ha="center",
        va="center",
        fontsize=9,
        color="white" if luminance < 0.21 else INK,
    )


def _has_dots(table: Table) -> bool:
    """Say whether a column stands for a single subset, so that there are dots to draw."""
    return any(column.is_subset_of(table.modalities) for column in table.columns)


def _draw_dots(axes: Axes, table: Table, centres: Sequence[float], *, top: float) -> None:
    """Draw the matrix of present modalities under the columns, and the headings of the columns that average several."""
    dot_rows = len(table.modalities) if _has_dots(table) else 0
    for channel in range(dot_rows):
        y = top + _DOT_ROW * (channel + 0.5)
        axes.text(-0.1, y, shortened(table.modalities[channel]), ha="right", va="center", fontsize=9, color=INK)
        for is_present, colour in ((True, INK), (False, PALE)):
            xs = [
                x
                for column, x in zip(table.columns, centres, strict=True)
                if column.is_subset_of(table.modalities) and (channel in column.subsets[0]) == is_present
            ]
            axes.plot(xs, [y] * len(xs), "o", markersize=7, color=colour)
    for column, x in zip(table.columns, centres, strict=True):
        if not column.is_subset_of(table.modalities):
            # A cell has no room for the heading of the mean that is weighted by prevalence.
            heading = "weighted" if column.weights else plain(column.heading)
            axes.text(x, top + _DOT_ROW / 2, heading, ha="center", va="center", fontsize=8.5, color=INK)


def _draw_bars(
    figure: Figure,
    axes: Axes,
    table: Table,
    scores: ScalarMappable,
    differences: ScalarMappable,
    *,
    left: float,
    height: float,
) -> None:
    """Draw the colour bar of the scores, and below it that of the differences, where there are any."""
    bars = [(scores, table.metric.heading, False)] if any(not row.is_difference for row in table.rows) else []
    if any(row.is_difference for row in table.rows):
        bars.append((differences, "difference", True))
    space = (height - _BETWEEN_BARS * (len(bars) - 1)) / len(bars)
    for index, (scale, label, signed) in enumerate(bars):
        top = index * (space + _BETWEEN_BARS)
        corners = axes.transData.transform([(left, top + space), (left + 0.13, top)])
        (x, y), (end_x, end_y) = figure.transFigure.inverted().transform(corners)
        bar = figure.add_axes((x, y, end_x - x, end_y - y))
        figure.colorbar(scale, cax=bar)
        bar.set_ylabel(label, fontsize=8, color=INK, labelpad=2)
        low, high = scale.get_clim()
        ticks = [low, (low + high) / 2, high]
        words = [(f"{tick:+.0f}" if signed and tick else f"{tick:.0f}").replace("-", "−") for tick in ticks]
        bar.set_yticks(ticks, words, fontsize=8, color=INK)
        bar.tick_params(length=2, pad=2)
        bar.spines[:].set_visible(False)
