"""The table of scores as a heatmap, in a PNG file.

Figures are drawn with matplotlib's object interface on the Agg canvas: no window, no global state, safe in threads. A
figure ten inches wide at 200 dots per inch stays legible at the thousand pixels that a README shows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from math import ceil, floor, isnan
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nnunet_missingmod.evaluation.atomic_file import replacing
from nnunet_missingmod.evaluation.tables import Column, Table, TableRow, percent
from nnunet_missingmod.modalities import subset_name

DOTS_PER_INCH = 200
INK = "#222222"
_PALE = "#dcdcdc"
# Both are safe for colour-blind readers (ColorBrewer).
_SCORE_COLOURS = "YlGnBu"
_DIFFERENCE_COLOURS = "PuOr"
# Sizes in inches.
_CELL = (0.5, 0.3)
_GAP = 0.08
_DOT_ROW = 0.2
_CHARACTER = 0.07
_LEAST_BAR = 0.8
_BETWEEN_BARS = 0.3


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file on a white ground; ``path`` holds the old file or all of the new one."""
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white")


def heatmap(table: Table, path: Path, *, title: str = "", limits: tuple[float, float] | None = None) -> None:
    """Draw a table: a row per region and model, a column per subset, scores in percent in the cells.

    Under each column, dots show which modalities are present (dark) and absent (pale). Columns that average several
    subsets stand apart and bear their heading. Differences have colours of their own, purple for better and orange for
    worse. ``limits`` are the scores in 0..1 at the ends of the colours; by default the tens around the table's scores.
    """
    models = {row.model for row in table.rows}
    model_space = _CHARACTER * max(map(len, models)) if len(models) > 1 else 0.0
    name_space = _CHARACTER * max(len(name) for name in (*table.modalities, *(row.region for row in table.rows)))
    left, right = name_space + model_space + 0.3, 0.8
    xs, width = _positions([_group(column) for column in table.columns], _CELL[0])
    ys, height = _positions([row.region for row in table.rows], _CELL[1])
    top, bottom = 0.45 if title else 0.12, (_DOT_ROW * len(table.modalities) if _has_dots(table) else _DOT_ROW) + 0.16
    total_width, total_height = left + width + right, top + max(height + bottom, _LEAST_BAR)
    figure = Figure(figsize=(total_width, total_height))
    # One set of axes in inches from the top left cell's corner: text, cells and dots share it.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-left, total_width - left), ylim=(total_height - top, -top))
    axes.axis("off")

    scores = _score_scale(table.rows, limits)
    differences = _difference_scale(table.rows)
    for row, y in zip(table.rows, ys, strict=True):
        scale = differences if row.is_difference else scores
        for x, value in zip(xs, row.values, strict=True):
            _draw_cell(axes, (x, y), value, scale, signed=row.is_difference)
        if len(models) > 1:
            axes.text(-0.1, y + _CELL[1] / 2, row.model, ha="right", va="center", fontsize=9, color=INK)
    for region in dict.fromkeys(row.region for row in table.rows):
        members = [y for row, y in zip(table.rows, ys, strict=True) if row.region == region]
        middle = (members[0] + members[-1] + _CELL[1]) / 2
        region_x = -0.1 - model_space - (0.1 if model_space else 0)
        axes.text(region_x, middle, region, ha="right", va="center", fontsize=10, color=INK, weight="bold")
    _draw_dots(axes, table, [x + _CELL[0] / 2 for x in xs], top=height + 0.08)
    _draw_bars(figure, axes, table.rows, scores, differences, left=width + 0.15, height=max(height, _LEAST_BAR))
    if title:
        axes.text(0, -0.24, title, ha="left", va="center", fontsize=11, color=INK, weight="bold")
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


def _score_scale(rows: Sequence[TableRow], limits: tuple[float, float] | None) -> ScalarMappable:
    values = [value for row in rows if not row.is_difference for value in row.values if not isnan(value)]
    low, high = limits or (floor(10 * min(values, default=0)) / 10, ceil(10 * max(values, default=1)) / 10)
    return ScalarMappable(Normalize(low, high if high > low else low + 0.1), matplotlib.colormaps[_SCORE_COLOURS])


def _difference_scale(rows: Sequence[TableRow]) -> ScalarMappable:
    """Return colours that are white at zero; a hundredth at least, so that noise does not look like an effect."""
    values = [abs(value) for row in rows if row.is_difference for value in row.values if not isnan(value)]
    most = ceil(100 * max(values, default=0.01)) / 100 or 0.01
    return ScalarMappable(Normalize(-most, most), matplotlib.colormaps[_DIFFERENCE_COLOURS])


def _draw_cell(axes: Axes, corner: tuple[float, float], value: float, scale: ScalarMappable, *, signed: bool) -> None:
    colour = (0.95, 0.95, 0.95, 1.0) if isnan(value) else scale.to_rgba(np.asarray(value))
    axes.add_patch(Rectangle(corner, *_CELL, facecolor=colour, edgecolor="white", linewidth=1))
    # Relative luminance of sRGB; 0.21 is where white and ink contrast alike (WCAG 2).
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), np.power(colour[:3], 2.2)))
    axes.text(
        corner[0] + _CELL[0] / 2,
        corner[1] + _CELL[1] / 2,
        percent(value, signed=signed, decimals=1),
        ha="center",
        va="center",
        fontsize=9,
        color="white" if luminance < 0.21 else INK,
    )


def _is_subset(column: Column, table: Table) -> bool:
    """Return whether the column stands for one subset under its own name, so that dots can say which."""
    return len(column.subsets) == 1 and column.heading == subset_name(column.subsets[0], table.modalities)


def _has_dots(table: Table) -> bool:
    return any(_is_subset(column, table) for column in table.columns)


def _draw_dots(axes: Axes, table: Table, centres: Sequence[float], *, top: float) -> None:
    """Draw the matrix of present modalities under the columns, and the headings of the columns that average several."""
    dot_rows = len(table.modalities) if _has_dots(table) else 0
    for channel in range(dot_rows):
        y = top + _DOT_ROW * (channel + 0.5)
        axes.text(-0.1, y, table.modalities[channel], ha="right", va="center", fontsize=9, color=INK)
        for column, x in zip(table.columns, centres, strict=True):
            if _is_subset(column, table):
                axes.plot([x], [y], "o", markersize=7, color=INK if channel in column.subsets[0] else _PALE)
    for column, x in zip(table.columns, centres, strict=True):
        if not _is_subset(column, table):
            axes.text(x, top + _DOT_ROW / 2, column.heading, ha="center", va="center", fontsize=8.5, color=INK)


def _draw_bars(
    figure: Figure,
    axes: Axes,
    rows: Sequence[TableRow],
    scores: ScalarMappable,
    differences: ScalarMappable,
    *,
    left: float,
    height: float,
) -> None:
    """Draw the colour bar of the scores, and below it that of the differences if there are any."""
    bars = [(scores, "Dice (%)", False)]
    if any(row.is_difference for row in rows):
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
        bar.set_yticks(
            ticks, [percent(tick, signed=signed and tick != 0, decimals=0) for tick in ticks], fontsize=8, color=INK
        )
        bar.tick_params(length=2, pad=2)
        bar.spines[:].set_visible(False)
