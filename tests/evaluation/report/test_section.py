"""A section of another module is on the page, with its tables and figures, every value escaped."""

from __future__ import annotations

from evaluation.evaluation_rows import AB, random_rows
from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.report.figures import save_png
from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.evaluation.statistics import Bootstrap


def test_a_section_is_on_the_page_with_its_tables_and_figures(tmp_path):
    save_png(Figure(figsize=(1, 1)), tmp_path / "figures" / "mine.png")
    table = SectionTable("of <b>m</b>", ("name", "value"), (("x & y", "12.5"),))
    section = Section("here", "How sure?", "Read it so.", (table,), ("figures/mine.png",))
    page = write_report(
        random_rows(cases=2, modalities=AB), tmp_path, modalities=AB, bootstrap=Bootstrap(100), sections=[section]
    )
    text = page.read_text(encoding="utf-8")
    for expected in ('id="here"', ">How sure?</h2>", ">How sure?</a>", "Read it so.", "of &lt;b&gt;m&lt;/b&gt;"):
        assert expected in text
    assert '<td>x &amp; y</td><td class="number">12.5</td>' in text
    assert 'alt="How sure?"' in text
