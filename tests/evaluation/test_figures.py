from __future__ import annotations

import math
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunet_missingmod.evaluation import figures
from nnunet_missingmod.evaluation.figures import heatmap
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.tables import count_columns, region_table, subset_columns
from nnunet_missingmod.modalities import all_subsets, subset_name

BRATS = ("FLAIR", "T1", "T1ce", "T2")


def make_table(names=BRATS, models=("ours", "theirs"), columns=subset_columns, value=lambda size: 0.2 * size):
    rows = [
        ScoreRow(model, "c", subset_name(subset, names), len(subset), region, value(len(subset)))
        for model in models
        for subset in all_subsets(len(names))
        for region in ("WT", "ET")
    ]
    differences = [tuple(models)] if len(models) == 2 else []
    return region_table(rows, columns(names), modalities=names, differences=differences)


def size_of(png):
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def cell_colours(monkeypatch, table, **options):
    """Return the colour of every cell, one line per row of the table."""
    drawn = []
    monkeypatch.setattr(figures, "save_png", lambda figure, path: drawn.append(figure))
    heatmap(table, Path("unused.png"), **options)
    colours = [patch.get_facecolor() for patch in drawn[0].axes[0].patches]
    return np.array(colours)[:, :3].reshape(len(table.rows), len(table.columns), 3)


@pytest.mark.parametrize("names", [("CT",), ("CT", "PET"), BRATS, tuple("abcde")])
def test_a_heatmap_is_drawn_for_any_number_of_modalities(tmp_path, names):
    heatmap(make_table(names), tmp_path / "h.png", title="title")
    assert list(tmp_path.iterdir()) == [tmp_path / "h.png"]


def test_a_heatmap_of_four_modalities_fits_a_readme(tmp_path):
    heatmap(make_table(models=("ours",)), tmp_path / "h.png")
    width, height = size_of(tmp_path / "h.png")
    assert 1800 <= width <= 2400
    assert height < width


def test_the_table_by_count_and_undefined_cells_are_drawn(tmp_path):
    table = make_table(columns=count_columns, value=lambda size: math.nan)
    heatmap(table, tmp_path / "h.png")
    assert size_of(tmp_path / "h.png")


def test_better_scores_are_darker(monkeypatch):
    table = make_table(models=("ours",), value=lambda size: 0.2 * size)
    brightness = cell_colours(monkeypatch, table, limits=(0.0, 1.0)).mean(-1)
    one, two, three, four = (brightness[:, index] for index in (0, 4, 10, 14))
    assert (one > two).all()
    assert (two > three).all()
    assert (three > four).all()


def test_no_difference_is_all_but_white_and_gains_and_losses_differ_in_colour(monkeypatch):
    table = make_table(models=("a", "b"), value=lambda size: 0.5)
    np.testing.assert_allclose(cell_colours(monkeypatch, table)[2], 0.965, atol=0.01)
    rows = [replace(row, values=tuple(np.linspace(-0.1, 0.1, 16))) for row in table.rows]
    red, _, blue = cell_colours(monkeypatch, replace(table, rows=tuple(rows)))[2].T
    assert red[0] > blue[0]  # orange
    assert blue[-1] > red[-1]  # purple


def test_an_undefined_cell_is_grey(monkeypatch):
    table = make_table(models=("a",), value=lambda size: math.nan if size == 1 else 0.5)
    colours = cell_colours(monkeypatch, table)
    np.testing.assert_allclose(colours[:, :4], 0.95)
    assert np.ptp(colours[:, 4], axis=-1).min() > 0.1


def test_no_global_state_of_pyplot_is_touched(tmp_path):
    heatmap(make_table(), tmp_path / "h.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
