from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluation_rows import BRATS_NAMES, random_rows

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.prevalence import prevalence_column
from nnunet_missingmod.evaluation.report import figures as module
from nnunet_missingmod.evaluation.report.figures import count_curve
from nnunet_missingmod.evaluation.report.tables import table_of


def make_table(columns=count_columns, bootstrap=None, **options):
    values = pool(random_rows(models=("ours", "theirs"), cases=6), modalities=BRATS_NAMES)
    return table_of(values, columns(BRATS_NAMES, **options), differences=[("ours", "theirs")], bootstrap=bootstrap)


def panels_of(monkeypatch, table):
    drawn = []
    monkeypatch.setattr(module, "save_png", lambda figure, path: drawn.append(figure))
    count_curve(table, Path("unused.png"))
    return drawn[0].axes


def test_lines_and_bands_are_the_tables_values_in_percent(monkeypatch):
    table = make_table(bootstrap=Bootstrap(resamples=100))
    panels = panels_of(monkeypatch, table)
    assert [axes.get_title() for axes in panels] == ["WT", "ET"]
    for axes, rows in zip(panels, (table.rows[:2], table.rows[3:5]), strict=True):
        assert len(axes.collections) == 2
        for line, band, row in zip(axes.lines, axes.collections, rows, strict=False):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_allclose(line.get_ydata(), 100 * np.array(row.values[:4]))
            heights = band.get_paths()[0].vertices[:, 1]
            limits = [100 * end for each in row.intervals[:4] for end in (each.low, each.high)]
            assert (heights.min(), heights.max()) == pytest.approx((min(limits), max(limits)))


def test_a_table_without_intervals_gives_lines_alone(monkeypatch):
    assert not any(axes.collections for axes in panels_of(monkeypatch, make_table()))


def test_sizes_that_were_not_scored_in_full_are_left_out(monkeypatch):
    scored = [(0, 1, 2, 3), (0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3), (0,)]
    axes = panels_of(monkeypatch, make_table(scored=scored))[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [3, 4])


def test_many_regions_stand_in_rows(tmp_path):
    import matplotlib.image

    regions = tuple(f"organ {number}" for number in range(7))
    values = pool(random_rows(cases=2, regions=regions, modalities=("CT", "PET")), modalities=("CT", "PET"))
    count_curve(table_of(values, count_columns(("CT", "PET"))), tmp_path / "c.png")
    height, width = matplotlib.image.imread(tmp_path / "c.png").shape[:2]
    assert width <= 3000
    assert height > 1000


def test_a_file_is_written(tmp_path):
    count_curve(make_table(), tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_by_subset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="count_columns"):
        count_curve(make_table(columns=subset_columns), tmp_path / "c.png")


def test_a_mean_that_is_weighted_is_no_point_of_the_curve(monkeypatch):
    weighted = prevalence_column({(0,): 1, (1,): 2}, BRATS_NAMES)
    without, with_it = (
        [[list(line.get_xdata()) for line in axes.lines] for axes in panels_of(monkeypatch, table)]
        for table in (make_table(), make_table(lambda names: (*count_columns(names), weighted)))
    )
    assert with_it == without
    assert with_it[0][0] == [1, 2, 3, 4]
