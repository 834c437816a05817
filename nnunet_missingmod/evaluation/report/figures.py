"""The figures of a report but the heatmap: scores over the number of modalities, differences, latents.

They are drawn with matplotlib's object interface on the Agg canvas: no window, no global state, safe in threads. A
figure ten inches wide at 200 dots per inch stays legible at the thousand pixels that a README shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.aggregation import Column
from nnunet_missingmod.evaluation.modality_gap import Latents, modality_gap
from nnunet_missingmod.evaluation.report.tables import AGREES, MINUS, Table
from nnunet_missingmod.modalities import subset_name
from nnunet_missingmod.storage import replaced_when_complete

DOTS_PER_INCH = 200
INK = "#222222"
PALE = "#dcdcdc"
# Okabe and Ito's palette without black and yellow, safe for colour-blind readers; lines beyond the sixth begin anew.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

_PANELS_PER_ROW = 5
# Sizes in inches. A panel is one region, in the plot of latents one model.
_CURVE_PANEL = (2.9, 2.6)
_LATENT_PANEL = (3.4, 3.9)
_DIFFERENCE_PANEL_WIDTH = 2.4
_DIFFERENCE_LINE = 0.22
_DIFFERENCE_MARGIN = 1.1
_LEGEND_LINE = 0.3
# How wide a letter of a legend (size 9) and of an axis (size 8.5) is at most, on average.
_LEGEND_LETTER = 0.075
_AXIS_LETTER = 0.07
# The number of neighbours that t-SNE looks at; its authors advise 5 to 50.
_PERPLEXITY = 30.0
# How many letters of a name a figure shows, how many a panel's title and a line of an axis have, and how many lines.
_NAME_LETTERS = 40
_TITLE_LETTERS = 24
_LINE_LETTERS = 36
_LINES = 6
_TEXT_LINE = 0.15


def line_colour(index: int) -> str:
    """Return the colour of the line of that number."""
    return LINE_COLOURS[index % len(LINE_COLOURS)]


def plain(text: str) -> str:
    """Return text that matplotlib shows as it is, in one line: no part of it is read as a formula."""
    return " ".join(text.split()).replace("$", "\\$")


def shortened(name: str, letters: int = _NAME_LETTERS) -> str:
    """Return a name, `plain`, with its middle left out if it is longer than a figure has room for.

    Of the difference of two models, each of both names is shortened.
    """
    name = " ".join(name.split())
    if len(name) > letters and MINUS in name:
        return MINUS.join(shortened(part, letters // 2) for part in name.split(MINUS, maxsplit=1))
    half = (letters - 1) // 2
    return plain(name if len(name) <= letters else f"{name[:half]}…{name[-half:]}")


def wrapped(name: str, letters: int = _LINE_LETTERS) -> str:
    """Return the name of a subset, `plain`, in lines of so many letters that end with a ``+``, at most six of them."""
    lines = [""]
    for part in re.findall(r"(?:\\.|[^+\\])*\+?", name):
        if lines[-1] and len(lines[-1]) + len(part) > letters:
            lines.append("")
        lines[-1] += part
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = ["…"]
    return "\n".join(shortened(line, letters) for line in lines)


def _axis_name(column: Column, modalities: Sequence[str]) -> str:
    """Return a column's heading, or if that is too long and names most of the modalities, those that it lacks."""
    if len(column.heading) <= _LINE_LETTERS or not column.is_subset_of(modalities):
        return column.heading
    lacks = [channel for channel in range(len(modalities)) if channel not in column.subsets[0]]
    other = f"all but {subset_name(lacks, modalities)}" if lacks else f"all {len(modalities)}"
    return other if len(lacks) < len(column.subsets[0]) else column.heading


def add_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], **options: Any) -> None:
    """Give a figure a legend that shows every name; matplotlib would leave out those that start with ``_``."""
    legend = figure.legend(
        handles, [str(index) for index in range(len(names))], frameon=False, fontsize=9, labelcolor=INK, **options
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def panels(figure: Figure, count: int, columns: int) -> list[Axes]:
    """Return so many axes in rows of ``columns`` with common scales, those that are left over switched off."""
    rows = ceil(count / columns)
    axes: list[Axes] = list(figure.subplots(rows, min(columns, count), squeeze=False, sharey=True).ravel())
    for unused in axes[count:]:
        unused.axis("off")
    return axes[:count]


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file on a white ground; ``path`` holds the old file or all of the new one."""
    FigureCanvasAgg(figure)
    with replaced_when_complete(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white")


def _label(axes: Axes, title: str, *, grid: Literal["x", "y"]) -> None:
    """Give a panel its title, letters of the common size, grid lines on one axis, and no frame above or right of it."""
    axes.set_title(shortened(title, _TITLE_LETTERS), fontsize=10, color=INK, weight="bold")
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.grid(axis=grid, color=PALE, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def count_curve(table: Table, path: Path) -> None:
    """Draw the scores of a table of `count_columns` against the number of modalities, a panel per region.

    The average over all subsets and the differences of models are left out. Bands are the table's intervals; a table
    without intervals gives lines alone. Undefined values leave a gap.

    Raises:
        ValueError: no column averages the subsets of one size.
    """
    # Of one modality, the average over all subsets is the same column once more.
    first = {frozenset(column.subsets): index for index, column in reversed(list(enumerate(table.columns)))}
    sizes = [{len(subset) for subset in column.subsets} if not column.weights else set() for column in table.columns]
    chosen = [index for index, of_column in enumerate(sizes) if len(of_column) == 1 and index in first.values()]
    present = [next(iter(sizes[index])) for index in chosen]
    if not chosen or len(set(present)) != len(present):
        raise ValueError("A curve over the number of present modalities needs a table made with count_columns.")
    regions = list(dict.fromkeys(row.region for row in table.rows))
    models = list(dict.fromkeys(row.model for row in table.rows if not row.is_difference))
    width = _CURVE_PANEL[0] * min(len(regions), _PANELS_PER_ROW)
    names = [shortened(model) for model in models]
    width = max(width, _LEGEND_LETTER * max(map(len, names)) + 0.6)
    beside = max(1, int(width // (_LEGEND_LETTER * max(map(len, names)) + 0.6)))
    height = _CURVE_PANEL[1] * ceil(len(regions) / _PANELS_PER_ROW) + _LEGEND_LINE * ceil(len(models) / beside)
    figure = Figure(figsize=(width, height), layout="constrained")
    of_region = panels(figure, len(regions), _PANELS_PER_ROW)
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
                if len(present) == 1:  # a band has no width there
                    axes.vlines(present, low, high, color=colour, alpha=0.4, linewidth=4)
        _label(axes, region, grid="y")
        axes.set_xticks(present)
        axes.set_xlabel("modalities present", fontsize=9, color=INK)
    for axes in of_region[::_PANELS_PER_ROW]:
        axes.set_ylabel(table.metric.heading, fontsize=9, color=INK)
    handles = [
        of_region[0].plot([], [], "o-", markersize=4, color=line_colour(i), lw=1.5)[0] for i in range(len(models))
    ]
    add_legend(figure, handles, names, loc="outside lower center", ncols=beside)
    save_png(figure, path)


def difference_plot(table: Table, path: Path) -> None:
    """Draw the differences of a table, a panel per region and a line per subset: dots are means, bars intervals.

    A full dot is a significant difference (`AGREES`); pairs of models have colours of their own.

    Raises:
        ValueError: the table has no differences with intervals.
    """
    rows = [row for row in table.rows if row.is_difference and row.intervals]
    if not rows:
        raise ValueError("A plot of differences needs a table that was made with differences and a bootstrap.")
    regions = list(dict.fromkeys(row.region for row in rows))
    pairs = list(dict.fromkeys(row.model for row in rows))
    names = [wrapped(_axis_name(column, table.modalities)) for column in table.columns]
    name_space = _AXIS_LETTER * max(len(line) for name in names for line in name.split("\n"))
    line_height = max(_DIFFERENCE_LINE, _TEXT_LINE * max(name.count("\n") + 1 for name in names))
    width = name_space + _DIFFERENCE_PANEL_WIDTH * min(len(regions), _PANELS_PER_ROW)
    panel_height = _DIFFERENCE_MARGIN + line_height * len(names) * max(1.0, 0.6 * len(pairs))
    height = panel_height * ceil(len(regions) / _PANELS_PER_ROW) + _LEGEND_LINE * (len(pairs) - 1)
    figure = Figure(figsize=(width, height), layout="constrained")
    of_region = panels(figure, len(regions), _PANELS_PER_ROW)
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
        _label(axes, region, grid="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    of_region[0].set_yticks(range(len(names)), names)
    of_region[0].set_ylim(len(names) - 0.5, -0.5)
    better = "right" if table.metric.higher_is_better else "left"
    unit = "points" if table.metric.unit == "%" else table.metric.unit
    figure.supxlabel(f"difference in {table.metric.label} ({unit}); better to the {better}", fontsize=9, color=INK)
    handles = [
        of_region[0].plot([], [], "o-", markersize=4.5, color=line_colour(i), lw=1.4)[0] for i in range(len(pairs))
    ]
    add_legend(figure, handles, list(map(shortened, pairs)), loc="outside upper center")
    save_png(figure, path)


def latent_plot(latents: Mapping[str, Latents], path: Path, *, voxels: int = 250, seed: int = 0) -> None:
    """Draw a panel per model; a point is the latent of one modality at one voxel, its colour the modality.

    t-SNE (van der Maaten & Hinton 2008) keeps neighbours together and shows neither distances nor scale, so that the
    numbers beneath are what to compare; they come from all voxels given, the points from ``voxels`` of them at most.

    Raises:
        ValueError: there are no models, or their modalities differ.
    """
    if not latents:
        raise ValueError("There are no latents to draw.")
    modalities = next(iter(latents.values())).modalities
    if any(each.modalities != modalities for each in latents.values()):
        raise ValueError(f"Latents of one set of modalities are drawn, got {[e.modalities for e in latents.values()]}.")
    names = [shortened(modality) for modality in modalities]
    width = _LATENT_PANEL[0] * len(latents)
    beside = max(1, int(width // (_LEGEND_LETTER * max(map(len, names)) + 0.6)))
    height = _LATENT_PANEL[1] + _LEGEND_LINE * (ceil(len(names) / beside) - 1)
    figure = Figure(figsize=(width, height), layout="constrained")
    of_models = figure.subplots(1, len(latents), squeeze=False)[0]
    for axes, (model, of_model) in zip(of_models, latents.items(), strict=True):
        gap = modality_gap(of_model)
        for channel, points in enumerate(embed(of_model.sample(voxels, seed=seed), seed=seed)):
            axes.scatter(*points.T, s=5, color=line_colour(channel), alpha=0.7, linewidths=0)
        axes.set(xticks=[], yticks=[])
        axes.set_title(shortened(model, _TITLE_LETTERS), fontsize=10, color=INK, weight="bold")
        axes.set_xlabel(
            f"variance explained by the modality {gap.explained_variance:.2f}\n"
            f"distance at the same voxel / elsewhere {gap.paired_distance:.2f}\n"
            f"modality named by a linear probe {100 * gap.probe_accuracy:.0f} % (chance {100 * gap.chance:.0f} %)",
            fontsize=8.5,
            color=INK,
        )
    handles = [of_models[0].scatter([], [], s=25, color=line_colour(i)) for i in range(len(modalities))]
    add_legend(figure, handles, names, loc="outside lower center", ncols=beside)
    save_png(figure, path)


def embed(latents: Latents, *, seed: int = 0) -> NDArray[np.float64]:
    """Return the latents of all modalities in one plane, (modalities, voxels, channels) -> (modalities, voxels, 2).

    Latents that do not vary are one point.
    """
    from sklearn.manifold import TSNE

    modalities, voxels, channels = latents.values.shape
    points: NDArray[Any] = latents.values.reshape(-1, channels).astype(np.float64)
    points = points - points.mean(axis=0)
    if not points.any():
        return np.zeros((modalities, voxels, 2))
    # t-SNE computes in float32, in which the squares of small latents vanish.
    points /= points.std()
    # scikit-learn refuses more neighbours than there are points; a third of them is the most that makes sense.
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    start = "pca" if channels > 1 else "random"
    components = TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(points)
    return np.asarray(components, np.float64).reshape(modalities, voxels, 2)
