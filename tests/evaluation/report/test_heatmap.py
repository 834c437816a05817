from __future__ import annotations

import math
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluation_rows import BRATS_NAMES, row

from nnunet_missingmod.evaluation.aggregation import count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE, HD95, NNUNET
from nnunet_missingmod.evaluation.report import heatmap as figures
from nnunet_missingmod.evaluation.report.heatmap import heatmap
from nnunet_missingmod.evaluation.report.tables import region_table
from nnunet_missingmod.modalities import all_subsets, subset_name


def make_table(
    names=BRATS_NAMES,
    models=("ours", "theirs"),
    columns=subset_columns,
    value=lambda size: 0.2 * size,
    regions=("WT", "ET"),
    metric=DICE,
):
    rows = [
        row(value(len(subset)), model=model, subset=subset_name(subset, names), region=region)
        for model in models
        for subset in all_subsets(len(names))
        for region in regions
    ]
    differences = [tuple(models)] if len(models) == 2 else []
    return region_table(
        rows, columns(names), modalities=names, differences=differences, convention=NNUNET, metric=metric
    )


def size_of(png):
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def drawn_by(monkeypatch, table, **options):
    drawn = []
    monkeypatch.setattr(figures, "save_png", lambda figure, path: drawn.append(figure))
    heatmap(table, Path("unused.png"), **options)
    return drawn[0]


def cell_colours(monkeypatch, table, **options):
    """Return the colour of every cell, one line per row of the table."""
    colours = [patch.get_facecolor() for patch in drawn_by(monkeypatch, table, **options).axes[0].patches]
    return np.array(colours)[:, :3].reshape(len(table.rows), len(table.columns), 3)


@pytest.mark.parametrize("names", [("CT",), ("CT", "PET"), BRATS_NAMES, tuple("abcde")])
def test_a_heatmap_is_drawn_for_any_number_of_modalities(tmp_path, names):
    heatmap(make_table(names), tmp_path / "h.png", title="title")
    assert list(tmp_path.iterdir()) == [tmp_path / "h.png"]


def test_a_heatmap_of_four_modalities_fits_a_readme(tmp_path):
    heatmap(make_table(models=("ours",)), tmp_path / "h.png")
    width, height = size_of(tmp_path / "h.png")
    assert 1800 <= width <= 2400
    assert height < width


def test_the_table_by_count_and_undefined_cells_are_drawn(tmp_path):
    table = make_table(columns=count_columns, value=lambda size: None)
    heatmap(table, tmp_path / "h.png")
    assert size_of(tmp_path / "h.png")


@pytest.mark.parametrize("models", [("m",), ("m", "a model of a rather long name")])
def test_no_label_is_cut_off_at_the_left(monkeypatch, models):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    table = make_table(names=("a long modality name", "CT"), models=models, regions=("MEAN OF ALL REGIONS", "ET"))
    figure = drawn_by(monkeypatch, table)
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert min(text.get_window_extent(renderer).x0 for text in figure.axes[0].texts) >= 0


def test_better_scores_are_darker(monkeypatch):
    table = make_table(models=("ours",), value=lambda size: 0.2 * size)
    brightness = cell_colours(monkeypatch, table, limits=(0.0, 100.0)).mean(-1)
    one, two, three, four = (brightness[:, index] for index in (0, 4, 10, 14))
    assert (one > two).all()
    assert (two > three).all()
    assert (three > four).all()


def test_shorter_distances_are_darker_and_shown_in_mm(monkeypatch):
    table = make_table(models=("ours",), metric=HD95, value=lambda size: 0.2 * size)  # 16, 12, 8 and 4 mm
    brightness = cell_colours(monkeypatch, table).mean(-1)
    assert (np.diff(brightness[:, [0, 4, 10, 14]]) < 0).all()
    figure = drawn_by(monkeypatch, table)
    assert {"16.0", "12.0", "8.0", "4.0"} < {text.get_text() for text in figure.axes[0].texts}
    assert figure.axes[1].get_ylabel() == "HD95 (mm)"
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["0", "10", "20"]


def test_no_difference_is_all_but_white_and_gains_and_losses_differ_in_colour(monkeypatch):
    table = make_table(models=("a", "b"), value=lambda size: 0.5)
    np.testing.assert_allclose(cell_colours(monkeypatch, table)[2], 0.965, atol=0.01)
    rows = [replace(line, values=tuple(np.linspace(-0.1, 0.1, 16))) for line in table.rows]
    red, _, blue = cell_colours(monkeypatch, replace(table, rows=tuple(rows)))[2].T
    assert red[0] > blue[0]  # orange
    assert blue[-1] > red[-1]  # purple
    red, _, blue = cell_colours(monkeypatch, replace(table, rows=tuple(rows), metric=HD95))[2].T
    assert blue[0] > red[0]  # fewer mm are better
    assert red[-1] > blue[-1]


def test_an_undefined_cell_is_grey(monkeypatch):
    table = make_table(models=("a",), value=lambda size: None if size == 1 else 0.5)
    assert all(math.isnan(value) for value in table.rows[0].values[:4])
    colours = cell_colours(monkeypatch, table)
    np.testing.assert_allclose(colours[:, :4], 0.95)
    assert np.ptp(colours[:, 4], axis=-1).min() > 0.1


def test_no_global_state_of_pyplot_is_touched(tmp_path):
    heatmap(make_table(), tmp_path / "h.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
