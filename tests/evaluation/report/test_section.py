"""A section of another module is on the page, with its tables and figures, every value escaped."""

from __future__ import annotations

from evaluation.evaluation_rows import AB, random_rows
from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE
from nnunet_missingmod.evaluation.report.figures import save_png
from nnunet_missingmod.evaluation.report.page import MetricTables, Report, html_report
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.statistics import Bootstrap


def test_a_section_is_on_the_page_with_its_tables_and_figures(tmp_path):
    save_png(Figure(figsize=(1, 1)), tmp_path / "mine.png")
    table = SectionTable("of <b>m</b>", ("name", "value"), (("x & y", "12.5"),))
    section = Section("here", "How sure?", "Read it so.", (table,), ("mine.png",))
    rows = random_rows(cases=2, modalities=AB)
    values = pool(rows, modalities=AB)
    tables = MetricTables(*(table_of(values, columns(AB)) for columns in (subset_columns, count_columns)))
    text = html_report(
        Report(
            rows=tuple(rows),
            raw_regions=("WT", "ET"),
            tables={DICE: tables},
            others={},
            bootstrap=Bootstrap(100),
            patients=2,
            figures=(),
            gaps={},
            provenance={},
            failures=(),
            sections=[(section, [tmp_path / "mine.png"])],
        )
    )
    for expected in ('id="here"', ">How sure?</h2>", ">How sure?</a>", "Read it so.", "of &lt;b&gt;m&lt;/b&gt;"):
        assert expected in text
    assert '<td>x &amp; y</td><td class="number">12.5</td>' in text
    assert 'alt="How sure?"' in text
