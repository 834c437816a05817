from __future__ import annotations

import csv
import math
from statistics import fmean

import numpy as np
import pytest

from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.tables import (
    count_columns,
    ordered_subsets,
    percent,
    region_table,
    subset_columns,
    to_csv,
    to_markdown,
)
from nnunet_missingmod.modalities import all_subsets, subset_name

BRATS = ("FLAIR", "T1", "T1ce", "T2")
PAPER_ORDER = [
    {"FLAIR"}, {"T2"}, {"T1ce"}, {"T1"},
    {"T2", "FLAIR"}, {"T1ce", "FLAIR"}, {"T1ce", "T2"}, {"T1", "FLAIR"}, {"T1", "T2"}, {"T1", "T1ce"},
    set(BRATS) - {"T1"}, set(BRATS) - {"T1ce"}, set(BRATS) - {"T2"}, set(BRATS) - {"FLAIR"},
    set(BRATS),
]  # fmt: skip
AB = ("A", "B")


def random_rows(models=("ours",), cases=3, regions=("WT", "ET"), modalities=BRATS, seed=0):
    rng = np.random.default_rng(seed)
    return [
        ScoreRow(model, f"c{case}", subset_name(subset, modalities), len(subset), region, float(rng.uniform()))
        for model in models
        for case in range(cases)
        for subset in all_subsets(len(modalities))
        for region in regions
    ]


def rows_of(scores, model="ours"):
    """Rows of modalities A and B and one region from {subset: scores of the cases}."""
    return [
        ScoreRow(model, f"c{case}", subset, subset.count("+") + 1, "ET", value)
        for subset, values in scores.items()
        for case, value in enumerate(values)
    ]


@pytest.mark.parametrize("names", [BRATS, ("t1CE", "t2", "flair", "T1")])
def test_columns_of_brats_follow_the_papers_whatever_the_channel_order(names):
    by_folded_name = {name.casefold(): name for name in BRATS}
    subsets = [{by_folded_name[names[channel].casefold()] for channel in subset} for subset in ordered_subsets(names)]
    assert subsets == PAPER_ORDER


@pytest.mark.parametrize(
    "names", [("CT", "PET"), ("FLAIR", "T1", "T1ce"), ("FLAIR", "T1", "T1ce", "DWI"), tuple("abcde")]
)
def test_columns_of_other_modalities_go_by_size_then_channel(names):
    assert ordered_subsets(names) == all_subsets(len(names))


def test_cells_are_means_over_cases_and_the_average_is_over_subsets():
    rows = random_rows(models=("ours", "theirs"))
    table = region_table(rows, subset_columns(BRATS), modalities=BRATS)
    assert [(row.region, row.model) for row in table.rows] == [
        ("WT", "ours"), ("WT", "theirs"), ("ET", "ours"), ("ET", "theirs"),
    ]  # fmt: skip
    assert table.columns[-1].heading == "average"
    for line in table.rows:
        own = [row for row in rows if (row.region, row.model) == (line.region, line.model)]
        expected = [fmean(row.dice for row in own if set(row.subset.split("+")) == wanted) for wanted in PAPER_ORDER]
        assert line.values == pytest.approx([*expected, fmean(expected)])
        assert line.counts == (3,) * 16


def test_the_table_by_number_of_present_modalities_averages_the_subsets_of_a_size():
    rows = random_rows()
    table = region_table(rows, count_columns(BRATS), modalities=BRATS)
    assert [column.heading for column in table.columns] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4", "average"]
    own = [row for row in rows if row.region == "ET"]
    expected = [fmean(row.dice for row in own if row.num_present == size) for size in (1, 2, 3, 4)]
    (line,) = [row for row in table.rows if row.region == "ET"]
    assert line.values == pytest.approx([*expected, fmean(row.dice for row in own)])


def test_an_undefined_score_leaves_the_mean_and_the_count():
    rows = rows_of({"A": (0.5, math.nan), "B": (0.2, 0.4), "A+B": (1.0, 1.0)})
    (line,) = region_table(rows, subset_columns(AB), modalities=AB).rows
    assert line.values == pytest.approx((0.5, 0.3, 1.0, 0.6))
    assert line.counts == (1, 2, 2, 1)


def test_an_average_over_fewer_subsets_is_not_given():
    rows = rows_of({"A": (math.nan, math.nan), "A+B": (1.0, 1.0)})
    (line,) = region_table(rows, subset_columns(AB), modalities=AB).rows
    np.testing.assert_array_equal(line.values, (math.nan, math.nan, 1.0, math.nan))
    assert line.counts == (0, 0, 2, 0)
    (line,) = region_table(rows, count_columns(AB), modalities=AB).rows
    np.testing.assert_array_equal(line.values, (math.nan, 1.0, math.nan))


def test_a_difference_is_the_mean_over_cases_that_both_models_have():
    ours = rows_of({"A": (0.9, 0.5, 0.7), "B": (0.5, 0.5), "A+B": (0.5, 0.5)})
    theirs = rows_of({"A": (0.8, math.nan), "B": (0.25, 0.5), "A+B": (0.75, 0.5)}, model="theirs")
    table = region_table(
        ours + theirs, subset_columns(AB), modalities=AB, differences=[("ours", "theirs"), ("theirs", "ours")]
    )
    assert [row.is_difference for row in table.rows] == [False, False, True, True]
    difference, reverse = table.rows[2:]
    assert difference.model == "ours − theirs"
    assert difference.values == pytest.approx((0.1, 0.125, -0.125, 0.1 / 3))
    assert difference.counts == (1, 2, 2, 1)
    assert reverse.values == pytest.approx([-value for value in difference.values])


def test_rows_that_make_no_table_are_refused():
    columns = subset_columns(AB)
    rows = rows_of({"A": (0.5,)})
    with pytest.raises(ValueError, match="no score rows"):
        region_table([], columns, modalities=AB)
    with pytest.raises(ValueError, match="ours, c0, A, ET is scored twice"):
        region_table(rows + rows, columns, modalities=AB)
    with pytest.raises(ValueError, match="'A' is no subset of X, Y"):
        region_table(rows, columns, modalities=("X", "Y"))
    with pytest.raises(ValueError, match="'other' has no score rows; the models are ours"):
        region_table(rows, columns, modalities=AB, differences=[("ours", "other")])


def test_percent_shows_sign_and_undefined_values():
    assert percent(0.87351) == "87.35"
    assert percent(0.01, signed=True) == "+1.00"
    assert percent(-0.0123, signed=True, decimals=1) == "-1.2"
    assert percent(math.nan) == "n/a"


def test_markdown_has_a_cell_for_every_column_and_says_how_many_cases_count():
    rows = rows_of({"A": (0.5, math.nan), "B": (0.2, 0.4), "A+B": (1.0, 1.0)}, model="a|b")
    text = to_markdown(region_table(rows, subset_columns(AB), modalities=AB))
    assert text.splitlines() == [
        "| region | model | A | B | A+B | average |",
        "| --- | --- | --: | --: | --: | --: |",
        "| ET | a\\|b | 50.00 | 30.00 | 100.00 | 60.00 |",
        "",
        "A cell averages the cases whose score is defined: 1 to 2 of them.",
    ]


def test_upright_markdown_shows_present_modalities_as_dots():
    rows = rows_of({"A": (0.5,), "B": (0.25,), "A+B": (0.75,)})
    text = to_markdown(region_table(rows, subset_columns(AB), modalities=AB), subsets_as_rows=True)
    assert text.splitlines() == [
        "| A | B | ET ours |",
        "| :-: | :-: | --: |",
        "| ● | ○ | 50.00 |",
        "| ○ | ● | 25.00 |",
        "| ● | ● | 75.00 |",
        "| average |  | 50.00 |",
    ]


def test_csv_holds_full_precision():
    table = region_table(rows_of({"A": (1 / 3,), "B": (math.nan,), "A+B": (1.0,)}), subset_columns(AB), modalities=AB)
    header, line = csv.reader(to_csv(table).splitlines())
    assert header == ["region", "model", "A", "B", "A+B", "average"]
    assert line[:2] == ["ET", "ours"]
    assert float(line[2]) == 1 / 3
    assert math.isnan(float(line[3]))
