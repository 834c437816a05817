"""A region of tables as lines of texts: their order, what is shown once, intervals and marks."""

from __future__ import annotations

from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, row, rows_of
from evaluation.page_reports import make_tables

from nnunet_missingmod.evaluation.aggregation import count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import NNUNET
from nnunet_missingmod.evaluation.report.score_table import ScoreCell, score_table
from nnunet_missingmod.evaluation.report.tables import region_table


def test_a_table_without_intervals_shows_means_alone():
    rows = rows_of({"A": (0.5,), "B": (0.25,), "A+B": (0.75,)})
    upright = score_table([region_table(rows, subset_columns(AB), modalities=AB)], "ET")
    assert upright.names == AB
    assert upright.models == ("ours",)
    assert [(line.dots, line.heading, line.cells, line.is_average, line.begins_group) for line in upright.lines] == [
        ((True, False), "A", (ScoreCell("50.00"),), False, False),
        ((False, True), "B", (ScoreCell("25.00"),), False, False),
        ((True, True), "A+B", (ScoreCell("75.00"),), False, True),
        ((), "average", (ScoreCell("50.00"),), True, True),
    ]


def test_subsets_come_first_then_numbers_present_then_the_average_once():
    rows = random_rows(cases=2)
    tables = [region_table(rows, make(BRATS_NAMES), modalities=BRATS_NAMES) for make in (subset_columns, count_columns)]
    lines = score_table(tables, "WT").lines
    assert [line.heading for line in lines[15:]] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4", "average"]
    assert [index for index, line in enumerate(lines) if line.begins_group] == [4, 10, 14, 15]
    assert [line.is_average for line in lines] == [False] * 19 + [True]


def test_without_dots_the_column_says_what_headings_are():
    table = score_table([region_table(random_rows(), count_columns(BRATS_NAMES), modalities=BRATS_NAMES)], "WT")
    assert table.names == ("modalities present",)
    assert not table.has_dots


def test_a_modality_that_is_called_average_is_no_average():
    names = ("average", "B")
    rows = [row(0.5, subset=subset) for subset in ("average", "B", "average+B")]
    lines = score_table([region_table(rows, subset_columns(names), modalities=names)], "ET").lines
    assert [(line.heading, line.is_average) for line in lines] == [
        ("average", False),
        ("B", False),
        ("average+B", False),
        ("average", True),
    ]


def test_cells_have_intervals_and_marks_and_differences_do_not_lead():
    both = make_tables(random_rows(models=("ours", "theirs"), modalities=AB, cases=6))
    table = score_table([both.by_subset], "ET", both.leads)
    assert table.models == ("ours", "theirs", "ours − theirs")
    for line in table.lines:
        ours, theirs, difference = line.cells
        assert {ours.lead, theirs.lead} == {"◆", "≈"}
        assert difference.lead is None
        assert ours.interval.startswith("(")
        assert " to " in ours.interval
        assert difference.interval[1] in "+−0"
    undefined = [row(None, case=f"c{case}", subset=subset) for case in range(2) for subset in ("A", "B", "A+B")]
    alone = make_tables(undefined, pairs=(), convention=NNUNET)
    assert score_table([alone.by_subset], "ET", alone.leads).lines[0].cells == (ScoreCell("n/a", "", ""),)
