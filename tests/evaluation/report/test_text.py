from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass

import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, row, rows_of
from hypothesis import given
from hypothesis import strategies as st

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE, HD95, NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.report.leading import further_pairs, leads
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.evaluation.report.tables import region_table, table_of
from nnunet_missingmod.evaluation.report.text import (
    comparison_cells,
    comparisons_to_csv,
    escape_latex,
    interval_text,
    p_text,
    records_to_csv,
    sections_to_markdown,
    shown,
    to_csv,
    to_latex,
    to_markdown,
)
from nnunet_missingmod.evaluation.statistics import Comparison, compare_pairs

ONE = Comparison(
    "ours",
    "theirs, too",
    "ET",
    "A+B",
    Interval(0.02, -0.01, 0.05, 9),
    6,
    1,
    2,
    12.0,
    0.03,
    0.0004,
    ((0, 1),),
    "single subsets",
    45,
)


def compared(models=("ours", "theirs"), names=BRATS_NAMES, columns=subset_columns, **options):
    values = pool(random_rows(models=models, modalities=names, cases=12), modalities=names)
    return table_of(
        values, columns(names), differences=[tuple(models[:2])], bootstrap=Bootstrap(resamples=100), **options
    )


def test_shown_values_have_unit_sign_and_word_for_what_is_undefined():
    assert shown(0.87351) == "87.35"
    assert shown(0.01, signed=True) == "+1.00"
    assert shown(-0.0123, signed=True, decimals=1) == "−1.2"
    assert shown(-0.00001, signed=True) == shown(0.0, signed=True) == "0.00"
    assert shown(4.567, HD95) == "4.57"
    assert shown(math.nan) == "n/a"


def test_an_interval_is_shown_if_there_is_one():
    assert interval_text(Interval(0.874, 0.851, 0.8901, 9)) == "87.4 (85.1 to 89.0)"
    assert interval_text(Interval(-0.01, -0.02, 0.005, 9), signed=True) == "−1.0 (−2.0 to +0.5)"
    assert interval_text(Interval(0.5, math.nan, math.nan, 1)) == "50.0"
    assert interval_text(Interval(math.nan, math.nan, math.nan, 0)) == "n/a"


def test_markdown_has_a_cell_for_every_column_and_a_note():
    rows = rows_of({"A": (0.5, None), "B": (0.2, 0.4), "A+B": (1.0, 1.0)}, model="a|b_c")
    table = region_table(rows, subset_columns(AB), modalities=AB, convention=NNUNET)
    assert to_markdown(table).splitlines() == [
        "| region | model | A | B | A+B | average |",
        "| --- | --- | --: | --: | --: | --: |",
        "| ET | a\\|b\\_c | 50.00 | 30.00 | 100.00 | 60.00 |",
        "",
        table.note(),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\\b", "a\\\\b"),
        ("`x`", "\\`x\\`"),
        ("[x](y)", "\\[x\\](y)"),
        ("$x$", "\\$x\\$"),
        ("&lt;", "&amp;lt;"),
        ("a\r\nb", "a b"),
    ],
)
def test_names_stay_as_they_are_in_markdown(name, expected):
    rows = rows_of({"A": (0.5,)}, model=name)
    lines = to_markdown(region_table(rows, subset_columns(AB, scored=[(0,)]), modalities=AB)).splitlines()
    assert lines[2] == f"| ET | {expected} | 50.00 | 50.00 |"


def test_upright_markdown_shows_present_modalities_as_dots():
    rows = rows_of({"A": (0.5,), "B": (0.25,), "A+B": (0.75,)})
    text = to_markdown(region_table(rows, subset_columns(AB), modalities=AB), subsets_as_rows=True)
    assert text.splitlines()[:6] == [
        "| A | B | ET ours |",
        "| :-: | :-: | --: |",
        "| ● | ○ | 50.00 |",
        "| ○ | ● | 25.00 |",
        "| ● | ● | 75.00 |",
        "| average |  | 50.00 |",
    ]


def test_intervals_and_marks_are_in_the_cells():
    table = compared(columns=count_columns)
    lines = to_markdown(table).splitlines()
    assert re.search(r"\| \d\d\.\d\d \(\d\d\.\d\d to \d\d\.\d\d\) \|", lines[2])
    assert "\\*" in lines[4]  # every case of "theirs" is better by about two points
    assert re.search(r"−\d\.\d\d \(−\d\.\d\d to −\d\.\d\d\)\\\*", lines[4])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % of A & B", "50 \\% of A \\& B"),
        ("nnUNetTrainer_x", "nnUNetTrainer\\_x"),
        ("a − b", "a $-$ b"),
        ("C:\\new", "C:\\textbackslash{}new"),
        ("p < 0.05^2", "p $<$ 0.05\\textasciicircum{}2"),
        ("{~}", "\\{\\textasciitilde{}\\}"),
        ("a|b", "a\\textbar{}b"),
        ("größer", "größer"),
    ],
)
def test_special_characters_print_as_they_are(text, expected):
    assert escape_latex(text) == expected


@given(st.text())
def test_nothing_is_left_that_latex_would_read_as_a_command(text):
    known = re.compile(r"\\(textbackslash|textbar|textasciitilde|textasciicircum|textdagger)\{\}|\\[&%$#_{}]|\$[^$]*\$")
    assert not re.search(r"[\\&%$#_{}~^\n]", known.sub("", escape_latex(text)))


@pytest.mark.parametrize("names", [("CT",), AB, BRATS_NAMES, tuple("abcde")])
@pytest.mark.parametrize("columns", [subset_columns, count_columns])
@pytest.mark.parametrize("intervals", [False, True])
def test_every_line_of_latex_has_as_many_cells_as_the_table_and_all_that_opens_closes(names, columns, intervals):
    table = compared(models=("our_model & co", "theirs 100%"), names=names, columns=columns)
    text = to_latex(table, label="tab:x", intervals=intervals)
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {2 + len(table.columns)}
    assert f"\\begin{{tabular}}{{ll{'r' * len(table.columns)}}}" in text
    assert len(lines) == len(table.rows) + 1 + (len(names) if columns is subset_columns else 0)
    without_escapes = re.sub(r"\\[&%$#_{}]", "", text)
    assert without_escapes.count("{") == without_escapes.count("}")
    assert without_escapes.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1] == ["table", "tabular"]
    assert "%" not in re.sub(r"\\%", "", text.split("\n", 1)[1])  # nothing but the first line is a comment
    assert ("to 6" in text or "to 7" in text) == intervals


def test_latex_prints_the_papers_dots_above_fifteen_columns():
    lines = to_latex(compared()).splitlines()
    (flair,) = [line for line in lines if line.startswith(" & FLAIR &")]
    cells = flair.removesuffix(" \\\\").split(" & ")[2:]
    # FLAIR; T2; T1ce; T1; five pairs and so on: the order of RFNet's table.
    assert [cell == "$\\bullet$" for cell in cells[:15]] == [
        True, False, False, False, True, True, False, True, False, False, True, True, True, False, True,
    ]  # fmt: skip
    assert cells[15].strip() == ""


def test_models_that_lead_or_cannot_be_told_from_the_leading_one_are_bold():
    noise = (0.0, 0.1, -0.1, 0.05, -0.05, 0.02, -0.02, 0.0)
    scores = {"ours": (0.75, 0.25), "theirs": (0.25, 0.26)}  # far apart with A, within the noise with B
    rows = [
        row(level + noise[(case + 3 * (model == "theirs")) % 8], model=model, case=f"c{case}", subset=subset)
        for model, levels in scores.items()
        for subset, level in zip(AB, levels, strict=True)
        for case in range(24)
    ]
    columns = subset_columns(AB, scored=((0,), (1,)))

    def in_latex(metric):
        values = pool(rows, modalities=AB, metric=metric)
        bootstrap = Bootstrap(resamples=200)
        of_all = table_of(values, columns, bootstrap=bootstrap)
        compared_pairs = compare_pairs(values, further_pairs([of_all], ()), columns=columns, bootstrap=bootstrap)
        return to_latex(of_all, leads=leads([of_all], compared_pairs)).splitlines(), to_latex(of_all)

    lines, unmarked = in_latex(DICE)
    assert "ET & ours & \\textbf{75.00} & \\textbf{25.00} & \\textbf{50.00} \\\\" in lines
    assert " & theirs & 25.00 & \\textbf{26.00} & 25.50 \\\\" in lines
    assert any("Bold: the best mean, and the models that cannot be told from it." in line for line in lines)
    assert "textbf" not in unmarked
    lines, _ = in_latex(HD95)
    assert any(line.startswith("ET & ours & \\textbf{5.00} &") for line in lines)
    assert any(line.startswith(" & theirs & 15.00 &") for line in lines)


@dataclass(frozen=True)
class Record:
    name: str
    gain: Interval
    share: Interval


def test_records_are_lines_with_three_columns_for_an_interval():
    records = [Record("a, b", Interval(1 / 3, -0.5, 1.0, 7), Interval(0.5, math.nan, math.nan, 3))]
    header, line = csv.reader(records_to_csv(records, metric="dice").splitlines())
    assert header == [
        "metric", "name", "gain", "gain_low", "gain_high", "cases", "share", "share_low", "share_high", "share_cases",
    ]  # fmt: skip
    assert line == ["dice", "a, b", repr(1 / 3), "-0.5", "1.0", "7", "0.5", "nan", "nan", "3"]
    assert records_to_csv([]) == ""
    of_patients = Record("a", Interval(0.5, 0.1, 0.9, 20, "patients"), Interval(2.0, 1.0, 3.0, 4))
    header = records_to_csv([of_patients]).splitlines()[0]
    assert header == "name,gain,gain_low,gain_high,patients,share,share_low,share_high,share_cases"


def test_sections_are_headings_tables_and_links_to_figures():
    table = SectionTable("Ranks of a|b", ("model", "rank"), (("T1_x", "1"),))
    text = sections_to_markdown("All", [Section("one", "Which?", "By *rank*.", (table,), ("figures/a b.png",))])
    assert text == (
        "# All\n\n## Which?\n\nBy \\*rank\\*.\n\nRanks of a\\|b\n\n| model | rank |\n| --- | --: |\n| T1\\_x | 1 |\n\n"
        "![Which?](figures/a%20b.png)\n"
    )


def test_csv_holds_full_precision():
    rows = rows_of({"A": (1 / 3,), "B": (None,), "A+B": (1.0,)})
    table = region_table(rows, subset_columns(AB), modalities=AB, convention=NNUNET)
    header, line = csv.reader(to_csv(table).splitlines())
    assert header == ["region", "model", "A", "B", "A+B", "average"]
    assert line[:2] == ["ET", "ours"]
    assert float(line[2]) == 1 / 3
    assert math.isnan(float(line[3]))


def test_csv_holds_intervals_and_corrected_p_values_beside_their_names():
    table = compared(columns=count_columns)
    lines = list(csv.DictReader(to_csv(table).splitlines()))
    assert len(lines) == len(table.rows)
    for line, of_table in zip(lines, table.rows, strict=True):
        assert float(line["2 of 4 low"]) == of_table.intervals[1].low
        assert float(line["2 of 4 high"]) == of_table.intervals[1].high
        assert line["2 of 4 p Holm"] == (str(of_table.p_holm[1]) if of_table.is_difference else "")


def test_csv_has_a_line_for_every_comparison_with_all_its_numbers():
    header, first, second = csv.reader(comparisons_to_csv([(DICE, ONE), (HD95, ONE)]).splitlines())
    found = dict(zip(header, first, strict=True))
    assert found == {
        "metric": "dice", "model": "ours", "baseline": "theirs, too", "region": "ET", "subset": "A+B",
        "difference": "0.02", "low": "-0.01", "high": "0.05", "cases": "9",
        "wins": "6", "ties": "1", "losses": "2", "p": "0.03", "p_holm": "0.0004", "family": "single subsets",
        "tests": "45",
    }  # fmt: skip
    assert second[0] == "hd95_mm"


def test_cells_are_what_a_reader_wants():
    assert comparison_cells(ONE, DICE) == ["+2.00 (−1.00 to +5.00)", "6 / 1 / 2", "0.030", "< 0.001"]
    assert p_text(math.nan) == "n/a"
    assert p_text(1.0) == "1.000"
