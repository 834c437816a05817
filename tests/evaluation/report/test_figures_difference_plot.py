from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluation_rows import BRATS_NAMES, random_rows
from matplotlib.colors import to_rgba

from nnunet_missingmod.evaluation.aggregation import pool, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE, HD95
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.report import figures as module
from nnunet_missingmod.evaluation.report.figures import difference_plot
from nnunet_missingmod.evaluation.report.tables import AGREES, DISAGREES, table_of

QUICK = Bootstrap(resamples=100)


def make_table(pairs=(("theirs", "ours"),), metric=DICE, bootstrap=QUICK):
    models = ("ours", "theirs", "others")
    values = pool(random_rows(models=models, cases=12), modalities=BRATS_NAMES, metric=metric)
    return table_of(values, subset_columns(BRATS_NAMES), differences=pairs, bootstrap=bootstrap)


def drawn_by(monkeypatch, table):
    drawn = []
    monkeypatch.setattr(module, "save_png", lambda figure, path: drawn.append(figure))
    difference_plot(table, Path("unused.png"))
    return drawn[0]


def test_dots_and_bars_are_differences_and_intervals_and_full_where_significant(monkeypatch):
    table = make_table()
    panel = drawn_by(monkeypatch, table).axes[0]
    row = next(line for line in table.rows if line.is_difference)
    bars, dots = panel.lines[1:33:2], panel.lines[2:34:2]  # after the line at zero
    np.testing.assert_allclose([dot.get_xdata()[0] for dot in dots], 100 * np.array(row.values))
    np.testing.assert_allclose(
        [bar.get_xdata() for bar in bars], [[100 * each.low, 100 * each.high] for each in row.intervals]
    )
    is_full = [to_rgba(dot.get_markerfacecolor()) != to_rgba("white") for dot in dots]
    assert is_full == [mark == AGREES for mark in row.marks]
    assert set(is_full) == {True, False}


def test_a_dot_is_not_full_where_ranks_and_mean_disagree(monkeypatch):
    table = make_table()
    rows = tuple(replace(line, marks=(DISAGREES,) * 16) if line.is_difference else line for line in table.rows)
    panel = drawn_by(monkeypatch, replace(table, rows=rows)).axes[0]
    assert {dot.get_markerfacecolor() for dot in panel.lines[2:34:2]} == {"white"}


def test_every_subset_has_its_name_and_pairs_stand_beside_each_other(monkeypatch):
    figure = drawn_by(monkeypatch, make_table(pairs=(("theirs", "ours"), ("others", "ours"))))
    panel = figure.axes[0]
    names = [column.heading for column in subset_columns(BRATS_NAMES)]
    assert [label.get_text() for label in panel.get_yticklabels()] == names
    heights = {round(float(line.get_ydata()[0]), 6) for line in panel.lines[1:65]}
    assert len(heights) == 2 * len(names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["theirs − ours", "others − ours"]


def test_the_axis_says_which_way_is_better(monkeypatch):
    assert drawn_by(monkeypatch, make_table()).get_supxlabel() == "difference in Dice (points); better to the right"
    assert "HD95 (mm); better to the left" in drawn_by(monkeypatch, make_table(metric=HD95)).get_supxlabel()


def test_a_file_is_written(tmp_path):
    difference_plot(make_table(), tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_without_tested_differences_is_refused(tmp_path):
    for table in (make_table(pairs=()), make_table(bootstrap=None)):
        with pytest.raises(ValueError, match="differences and a bootstrap"):
            difference_plot(table, tmp_path / "d.png")
