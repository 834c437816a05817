from __future__ import annotations

import math

import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, row, rows_of

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.modality_gain import modality_gains
from nnunet_missingmod.evaluation.monotonicity import drops
from nnunet_missingmod.evaluation.report.modality_questions import (
    draw_gains,
    gain_columns,
    gain_section,
    gain_table,
    monotonicity_section,
)

QUICK = Bootstrap(resamples=100)


def values_and_gains(rows, modalities):
    values = pool(rows, modalities=modalities, convention=NNUNET)
    return values, modality_gains(values, bootstrap=QUICK)


def test_a_row_says_how_often_each_modality_made_it_worse():
    rows = rows_of({"A": (0.5, 0.5), "B": (0.7, None), "A+B": (0.4, 0.6)})
    section = monotonicity_section(drops(pool(rows, modalities=AB, convention=NNUNET)))
    (table,) = section.tables
    assert table.head == ("region", "model", "pairs", "left out", "any", "+ A", "+ B")
    (line,) = table.body
    assert line[:4] == ("ET", "ours", "3", "1")
    assert [cell.split(" ")[0] for cell in line[4:]] == ["66.7", "100.0", "50.0"]


def test_gains_are_averaged_in_the_section_and_by_subset_in_the_heatmap():
    rows = rows_of({"A": (0.5, 0.5), "B": (0.7, 0.5), "A+B": (0.6, 0.6)})
    values, gains = values_and_gains(rows, AB)
    section = gain_section(gains, ["figures/modality_gain.png"])
    assert section.figures == ("figures/modality_gain.png",)
    (table,) = section.tables
    assert table.head == ("region", "model", "+ A", "+ B")
    assert [cell.split(" ")[0] for cell in table.body[0][2:]] == ["0.0", "+10.0"]
    drawn = gain_table(values, gains, gain_columns(values))
    assert [column.heading for column in drawn.columns] == ["A", "B"]
    assert [(line.model, line.is_difference) for line in drawn.rows] == [("+ A", True), ("+ B", True)]
    assert math.isnan(drawn.rows[0].values[0])
    assert drawn.rows[1].values[0] == pytest.approx(0.1)


def test_left_out_pairs_are_counted_once():
    _, gains = values_and_gains(rows_of({"A": (0.5, 0.5), "A+B": (0.6, None), "B": (0.5, 0.5)}), AB)
    assert "2 pairs of which one score is missing are left out." in gain_section(gains, []).text


def test_five_modalities_are_drawn_by_their_number():
    names = tuple("ABCDE")
    values, _ = values_and_gains(random_rows(modalities=names, regions=("ET",), cases=2), names)
    assert [column.heading for column in gain_columns(values)] == [f"{size} of 5" for size in range(1, 5)]
    four, _ = values_and_gains(random_rows(regions=("ET",), cases=2), BRATS_NAMES)
    assert len(gain_columns(four)) == 14


def test_each_model_has_a_heatmap_of_its_own(tmp_path):
    rows = random_rows(models=("a/b", "c d"), modalities=AB, cases=2)
    values, gains = values_and_gains(rows, AB)
    drawn = draw_gains(values, gains, tmp_path, regions={"WT": ("WT",), "ET": ("ET",)})
    names = [(model, path.name) for model, path in drawn]
    assert names == [("a/b", "modality_gain_1.png"), ("c d", "modality_gain_2.png")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for _, path in drawn)


def test_one_modality_or_one_subset_has_nothing_to_show(tmp_path):
    for rows, names in (([row(0.5)], ("A",)), ([row(0.5, subset="A")], AB)):
        values, gains = values_and_gains(rows, names)
        assert (gains, gain_section(gains, []), monotonicity_section(drops(values))) == ([], None, None)
        assert draw_gains(values, gains, tmp_path, regions={"ET": ("ET",)}) == []
