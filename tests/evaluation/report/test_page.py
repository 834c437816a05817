from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, row, rows_of
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, DICE, HD95, NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.report import page
from nnunet_missingmod.evaluation.report.figures import save_png
from nnunet_missingmod.evaluation.report.page import MetricTables, Report, html_report, score_table
from nnunet_missingmod.evaluation.report.tables import region_table, table_of

QUICK = Bootstrap(resamples=100, seed=7)
HOSTILE = "<script>alert('x')</script> & \"quoted\""


class Balance(HTMLParser):
    """Checks that all elements that open also close, in order; collects text by element and all attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.attributes, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def parsed(text):
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def texts_of(text, tag):
    return [data for element, data in parsed(text).texts if element == tag]


def section_of(text, heading):
    """Return the part of a page from a section's heading to the next one."""
    start = text.index(f">{heading}</h2>") + len(f">{heading}</h2>")
    end = text.find("<h2", start)
    return text[start : end if end >= 0 else text.index("</body>")]


def first_table_of(text, heading):
    section = section_of(text, heading)
    return section[section.index("<table>") : section.index("</table>") + len("</table>")]


def make_tables(rows, metric=DICE, convention=BRATS, pairs=(("ours", "theirs"),), modalities=AB):
    values = pool(rows, modalities=modalities, metric=metric, convention=convention)
    by_subset, by_count = (
        table_of(values, columns(modalities), differences=pairs, bootstrap=QUICK)
        for columns in (subset_columns, count_columns)
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
    text = " ".join(html_report(report).split())
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


def test_a_page_is_whole_and_links_to_its_sections(report):
    text = html_report(report)
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</html>\n")
    assert '<meta charset="utf-8">' in text
    targets = re.findall(r'href="#(\w+)"', text)
    assert targets == re.findall(r'<h2 id="(\w+)"', text)
    assert texts_of(text, "a") == texts_of(text, "h2")
    assert texts_of(text, "h2") == [
        "Overview", "WT", "ET", "Comparisons", "Figures", "Modality gap", "Empty masks", "Definitions",
        "What could not be scored", "Provenance",
    ]  # fmt: skip


def test_there_is_a_section_for_every_region_with_every_metric(report):
    text = html_report(report)
    for region in ("WT", "ET"):
        section = section_of(text, region)
        assert "<h3>Dice (%)</h3>" in section
        assert "<h3>HD95 (mm)</h3>" in section


def test_empty_masks_are_counted_by_region_and_model(report):
    text = html_report(report)
    cells = "".join(f'<td class="number">{count}</td>' for count in (14, 1, 1, 0))
    assert f"<tr><td>ET</td><td>ours</td>{cells}</tr>" in text


def test_the_page_says_where_patients_are_too_few_for_any_mark(report):
    text = " ".join(html_report(report).split())
    # Four or five patients; both regions of three subsets and of one average.
    assert "With 4 patient(s) no test of a family of 6 can be marked: the smallest possible p is 0.125" in text
    assert "Each case counts as a patient of its own." in text
    assert "how much another training of them would differ is not in them" in text
    many = random_rows(models=("ours", "theirs"), modalities=AB, cases=9)
    enough = replace(report, tables={DICE: make_tables(many)}, patients=3)
    assert "can be marked" not in html_report(enough)
    assert "a patient of its own" not in html_report(enough)


def test_every_comparison_is_listed_once(report):
    # Three subsets, "1 of 2", "2 of 2" and one average, of two regions, and the head.
    assert section_of(html_report(report), "Comparisons").count("<tr>") == 6 * 2 + 1


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
    assert texts_of(section_of(text, "Provenance"), "p") == ["None."]


def test_the_same_report_gives_the_same_text(report):
    assert html_report(report) == html_report(report)


def report_of(name, picture):
    """A report in which everything that a user may name is called so."""
    models, modalities = (name, f"{name} 2"), (name, "B")
    rows = [
        row(0.5, model=model, fold=name, region=name, case=name, subset=subset)
        for model in models
        for subset in (name, "B", f"{name}+B")
    ]
    both = make_tables(rows, pairs=[models], modalities=modalities)
    by_count = replace(both.by_count, columns=tuple(replace(column, heading=name) for column in both.by_count.columns))
    return Report(
        rows=tuple(rows),
        raw_regions=(name,),
        tables={DICE: MetricTables(both.by_subset, by_count)},
        others={name: by_count},
        bootstrap=QUICK,
        patients=1,
        figures=[(name, picture)],
        gaps={name: ModalityGap(0.1, 0.2, 0.3, 0.4, 0.5)},
        provenance={name: name},
        failures=(name, name),
    )


def test_hostile_names_stay_text_everywhere_on_a_page(tmp_path, monkeypatch):
    save_png(Figure(figsize=(1, 1)), tmp_path / "a.png")

    def of(name):
        monkeypatch.setattr(page, "TITLE", name)
        return parsed(html_report(report_of(name, tmp_path / "a.png")))

    hostile, harmless = of(HOSTILE), of("harmless")
    assert hostile.tags == harmless.tags
    assert "script" not in hostile.tags
    assert [(tag, data.replace(HOSTILE, "harmless")) for tag, data in hostile.texts] == harmless.texts
    assert [(name, value.replace(HOSTILE, "harmless")) for name, value in hostile.attributes] == harmless.attributes
    assert ("alt", HOSTILE) in hostile.attributes
    named = {tag for tag, data in hostile.texts if HOSTILE in data}
    assert named == {"title", "h1", "a", "h2", "h3", "p", "th", "td", "figcaption", "pre"}
    assert HOSTILE in texts_of(html_report(report_of(HOSTILE, tmp_path / "a.png")), "td")


def test_what_could_not_be_scored_stands_line_by_line(report):
    text = html_report(replace(report, failures=("first\n  indented", HOSTILE)))
    assert texts_of(text, "pre") == [f"first\n  indented\n{HOSTILE}"]


def test_a_figure_lies_within_the_page_at_its_size_in_inches(report, tmp_path):
    save_png(Figure(figsize=(2, 1)), tmp_path / "a.png")
    text = html_report(replace(report, figures=[("what it shows", tmp_path / "a.png")]))
    (source,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(source) == (tmp_path / "a.png").read_bytes()
    assert ("width", "192") in parsed(text).attributes
    assert ("alt", "what it shows") in parsed(text).attributes


def test_a_table_of_scores_has_dots_for_subsets_and_a_column_per_model(report):
    rows = random_rows(models=("ours", "theirs"))
    both = make_tables(rows, modalities=BRATS_NAMES)
    table = region_table(rows, subset_columns(BRATS_NAMES), modalities=BRATS_NAMES, differences=[("ours", "theirs")])
    text = first_table_of(html_report(replace(report, tables={DICE: replace(both, by_subset=table)})), "ET")
    assert texts_of(text, "th") == [*BRATS_NAMES, "ours", "theirs", "ours − theirs"]
    cells = texts_of(text, "td")
    assert cells[:5] == ["●", "○", "○", "○", f"{100 * table.rows[3].values[0]:.2f}"]
    assert sum(cell in "●○" for cell in cells) == 15 * 4
    assert cells[-4] == "average"
    assert len(cells) == 15 * (4 + 3) + 1 + 3
    assert text.count('<tr class="average">') == 1
    assert '<td colspan="4">average</td>' in text


def test_a_table_by_count_has_headings_in_place_of_dots(report):
    rows = random_rows()
    table = region_table(rows, count_columns(BRATS_NAMES), modalities=BRATS_NAMES)
    both = MetricTables(by_subset=table, by_count=table)
    text = first_table_of(html_report(replace(report, tables={DICE: both})), "WT")
    assert texts_of(text, "th") == ["modalities present", "ours"]
    assert texts_of(text, "td")[::2] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4", "average"]


def test_a_table_without_intervals_shows_means_alone():
    rows = rows_of({"A": (0.5,), "B": (0.25,), "A+B": (0.75,)})
    upright = score_table(region_table(rows, subset_columns(AB), modalities=AB), "ET")
    assert upright.names == AB
    assert upright.models == ("ours",)
    assert [(line.dots, line.heading, line.cells, line.is_average) for line in upright.lines] == [
        ((True, False), "A", ("50.00",), False),
        ((False, True), "B", ("25.00",), False),
        ((True, True), "A+B", ("75.00",), False),
        ((), "average", ("50.00",), True),
    ]


def test_numbers_and_their_headings_are_aligned_right_and_words_are_not(report):
    text = first_table_of(html_report(report), "Overview")
    assert text.count('<td class="number">') == 2 * 2
    assert text.count('<th class="number">') == 2
    assert "<tr><td>theirs</td><td>0</td>" in text
    assert '<td class="number">4</td>' in text


def test_a_name_that_the_template_does_not_know_is_an_error():
    with pytest.raises(UndefinedError, match="is undefined"):
        page.TEMPLATES.get_template("page.html.j2").render()
