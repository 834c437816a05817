from __future__ import annotations

from dataclasses import replace

import pytest
from evaluation.evaluation_rows import AB, random_rows, row

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, DICE, HD95, NNUNET
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.report.page import MetricTables, Report, html_report
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.statistics import Bootstrap

QUICK = Bootstrap(resamples=100, seed=7)


def make_tables(rows, metric=DICE, convention=BRATS, pairs=(("ours", "theirs"),)):
    values = pool(rows, modalities=AB, metric=metric, convention=convention)
    by_subset, by_count = (
        table_of(values, columns(AB), differences=pairs, bootstrap=QUICK) for columns in (subset_columns, count_columns)
    )
    return MetricTables(by_subset, by_count)


@pytest.fixture
def report():
    rows = random_rows(models=("ours", "theirs"), modalities=AB, cases=4)
    rows += [row(None, region="ET", case="c4"), row(0.0, region="ET", case="c4", subset="B", reference=0)]
    return Report(
        rows=tuple(rows),
        raw_regions=("WT", "ET"),
        tables={metric: make_tables(rows, metric) for metric in (DICE, HD95)},
        others={"nnunet": make_tables(rows, convention=NNUNET).by_count},
        bootstrap=QUICK,
        patients=5,
        figures=(),
        gaps={"ours": ModalityGap(0.123, 0.456, 0.789, 0.55, 0.5)},
        provenance={"command": "nnunet_missingmod evaluate", "nnunetv2": "2.8.1"},
        failures=("case c9 with A: it is torn",),
    )


def test_the_page_says_what_was_compared_how_and_where_it_comes_from(report):
    text = html_report(report)
    for part in (
        "2 model(s), 5 cases of 5 patients, 3 subsets of A, B; regions WT, ET",
        "100 resamples, seed 7",
        "within 1 mm",
        "nnunet_missingmod evaluate",
        "2.8.1",
        "case c9 with A: it is torn",
        "1 prediction(s) could not be scored",
        '<td class="number">0.456</td>',
        BRATS.text(DICE),
        BRATS.text(HD95),
        NNUNET.text(DICE),
    ):
        assert part in text, part


def test_there_is_a_section_for_every_region_with_every_metric(report):
    text = html_report(report)
    for region in ("WT", "ET"):
        section = text[text.index(f">{region}</h2>") :]
        section = section[: section.index("</h2>", 10) if "</h2>" in section[10:] else None]
        assert "<h3>Dice (%)</h3>" in section
        assert "<h3>HD95 (mm)</h3>" in section


def test_empty_masks_are_counted_by_region_and_model(report):
    text = html_report(report)
    cells = "".join(f'<td class="number">{count}</td>' for count in (14, 1, 1, 0))
    assert f"<tr><td>ET</td><td>ours</td>{cells}</tr>" in text


def test_every_comparison_is_listed_once(report):
    text = html_report(report)
    section = text[text.index(">Comparisons</h2>") : text.index(">Figures</h2>")]
    # Three subsets, "1 of 2", "2 of 2" and one average, of two regions, and the head.
    assert section.count("<tr>") == 6 * 2 + 1


def test_sections_without_content_are_left_out(report):
    alone = replace(
        report,
        tables={DICE: make_tables(random_rows(modalities=AB), pairs=())},
        gaps={},
        failures=(),
        provenance={},
        others={},
    )
    text = html_report(alone)
    for absent in ("Comparisons", "Modality gap", "could not be scored"):
        assert absent not in text


def test_the_same_report_gives_the_same_text(report):
    assert html_report(report) == html_report(report)
