from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, row
from evaluation.page_reports import make_report, make_tables, summary_of
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.conventions import BRATS, DICE, HD95, NNUNET
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.report import page
from nnunet_missingmod.evaluation.report.figures import save_png
from nnunet_missingmod.evaluation.report.page import MetricTables, html_report
from nnunet_missingmod.evaluation.report.section import Section, SectionTable

HOSTILE = "<script>alert('x')</script> & \"quoted\""
# What a page may hold without a closing tag.
VOID = ("meta", "img")


class Balance(HTMLParser):
    """Checks that all elements that open also close, in order; collects text by element and all attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.attributes, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
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


def part_of(text, anchor, tag="h2"):
    """Return the part of a page from the heading of that anchor to the next heading of its kind, or of a higher one."""
    start = text.index(f'<{tag} id="{anchor}">')
    ends = [text.find(f"<{each} id=", start + 1) for each in ("h2", tag)] + [text.index("</main>")]
    return text[start : min(end for end in ends if end >= 0)]


def table_of(text, anchor):
    start = text.index(f'<table id="{anchor}"')
    return text[start : text.index("</table>", start) + len("</table>")]


@pytest.fixture(scope="module")
def report():
    rows = random_rows(models=("ours", "theirs"), modalities=AB, cases=4)
    rows += [row(None, region="ET", case="c4"), row(0.0, region="ET", case="c4", subset="B", reference=0)]
    return make_report(rows)


def test_the_page_says_what_was_compared_how_and_where_it_comes_from(report):
    text = " ".join(html_report(report).split())
    for part in (
        "2 models, 5 cases of 5 patients, 3 subsets of A, B; regions WT, ET",
        "100 resamples, seed 7",
        "within 1 mm",
        "nnunet_missingmod evaluate",
        "2.8.1",
        "case c9 with A: it is torn",
        "1 prediction could not be scored",
        '<td class="number">0.456</td>',
        BRATS.text(DICE),
        BRATS.text(HD95),
        NNUNET.text(DICE),
    ):
        assert part in text, part


def test_the_summary_comes_first_then_the_choice_figures_sections_and_everything(report, tmp_path):
    save_png(Figure(figsize=(1, 1)), tmp_path / "a.png")
    sections = (Section("power", "What would show?", "How to read it."), Section("order", "Who is first?", "By rank."))
    figures = [(caption, tmp_path / "a.png") for caption in ("in the summary", "below")]
    text = html_report(replace(report, sections=sections, figures=figures))
    assert re.findall(r'<h2 id="([^"]+)"', text) == [
        "summary", "choice", "figures", "power", "order", "tables", "comparisons", "modality-gap", "empty-masks",
        "definitions", "failures", "provenance",
    ]  # fmt: skip
    assert "in the summary" in part_of(text, "summary")
    assert texts_of(part_of(text, "figures"), "figcaption") == ["below"]
    assert texts_of(part_of(text, "power"), "p") == ["How to read it."]


def test_the_curve_over_the_number_of_modalities_is_the_summarys_figure(report, tmp_path):
    for name in ("dice_by_subset.png", "dice_by_count.png"):
        save_png(Figure(figsize=(1, 1)), tmp_path / name)
    figures = [("map", tmp_path / "dice_by_subset.png"), ("curve", tmp_path / "dice_by_count.png")]
    text = html_report(replace(report, figures=figures))
    assert texts_of(part_of(text, "summary"), "figcaption") == ["curve"]
    assert texts_of(part_of(text, "figures"), "figcaption") == ["map"]


def test_a_page_is_whole_and_its_contents_lead_to_every_section(report):
    text = html_report(report)
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</html>\n")
    assert '<meta charset="utf-8">' in text
    contents = text[text.index("<nav") : text.index("</nav>") + len("</nav>")]
    linked = re.findall(r'href="#([^"]+)"', contents)
    assert linked == re.findall(r'<h[23] id="([^"]+)"', text)
    assert texts_of(contents, "a") == [name for tag, name in parsed(text).texts if tag in ("h2", "h3")]
    ids = [value for name, value in parsed(text).attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_every_table_says_what_it_is_to_those_who_do_not_see_it(report):
    section = Section("power", "What?", "So.", (SectionTable("its caption", ("model", "gain"), (("ours", "+1.0"),)),))
    text = html_report(replace(report, sections=[section]))
    tables = text.split("<table")[1:]
    assert len(tables) > 10
    for table in tables:
        assert re.match(r"[^>]*>\s*<caption>[^<]+</caption>\s*<thead><tr><th scope=\"col\"", table)
    heads = re.findall(r"<th\b[^>]*>", text)
    assert all('scope="' in head for head in heads)
    form = text[text.index("<form") : text.index("</form>")]
    assert form.count("<label>") == form.count("<select") == form.count("</select></label>") == 3


def test_there_is_a_table_for_every_region_and_metric(report):
    text = html_report(report)
    for region in ("WT", "ET"):
        assert texts_of(part_of(text, f"tables-{region.lower()}", "h3"), "caption") == [
            f"{region}, Dice (%)", f"{region}, HD95 (mm)",
        ]  # fmt: skip
    assert "<caption>ET, HD95 (mm)</caption>" in table_of(text, "hd95_mm-et")


def test_the_choice_shows_dice_of_the_summarys_region_without_the_script(report):
    text = html_report(report)
    section = part_of(text, "choice")
    assert '<form id="choose" hidden' in section
    assert re.findall(r'<option value="([^"]+)" selected>', section) == ["ET", "dice"]
    shown = table_of(text, "chosen")
    assert "<caption>ET, Dice (%)</caption>" in shown
    assert texts_of(shown, "td") == texts_of(table_of(text, "dice-et"), "td")


def test_lines_bear_the_number_of_their_option(report):
    text = html_report(report)
    options = texts_of(part_of(text, "choice"), "option")
    subsets = options[options.index("every subset") + 1 :]
    table = table_of(text, "dice-et")
    numbers = [int(number) for number in re.findall(r'data-line="(\d+)"', table)]
    headings = re.findall(
        r'<tr class="[^"]+" data-line="\d+"><th scope="row"[^>]*>(?:<span class="unseen">)?([^<]+)<', table
    )
    assert [subsets[number] for number in numbers] == headings == ["A", "B", "A+B", "1 of 2", "2 of 2", "average"]
    assert re.search(r'<table id="hd95_mm-et" data-region="1" data-metric="1">', text)


def test_leading_means_are_marked_together_with_those_that_cannot_be_told_from_them(report):
    # Five patients tell no models apart: every mean is marked, and no difference of models.
    text = html_report(report)
    for anchor in ("dice-et", "hd95_mm-wt"):
        cells = re.findall(
            r'<td class="number([^"]*)"><span>([^<]+)(?:<span class="mark">(.*?)</span>)?', table_of(text, anchor)
        )
        assert len(cells) == 6 * 3
        for position in range(0, len(cells), 3):
            assert sorted(cell[2] for cell in cells[position : position + 2]) == ["≈", "◆"]
            assert {cell[0] for cell in cells[position : position + 2]} == {" leads", " near"}
            assert cells[position + 2][0] == cells[position + 2][2] == ""
    assert "◆ the best mean. ≈ A mean that cannot be told from it" in text


def test_one_model_has_no_marks_and_no_comparisons():
    rows = random_rows(modalities=AB)
    text = html_report(make_report(rows, pairs=(), gaps={}, failures=(), provenance={}, others={}))
    for absent in ("◆", "≈", 'id="comparisons"', 'id="modality-gap"', 'id="failures"', 'id="figures"'):
        assert absent not in text
    assert texts_of(part_of(text, "provenance"), "p") == ["None."]


def test_empty_masks_are_counted_by_region_and_model(report):
    text = html_report(report)
    cells = "".join(f'<td class="number">{count}</td>' for count in (14, 1, 1, 0))
    assert f'<th scope="row" class="words">ET</th><th scope="row" class="words">ours</th>{cells}</tr>' in text


def test_scores_without_sizes_are_not_counted_as_masks_that_are_not_empty():
    ours = random_rows(modalities=AB, regions=("ET",), cases=2)
    outside = [
        replace(each, model="outside", reference_voxels=-1, predicted_voxels=-1)
        for each in random_rows(modalities=AB, regions=("ET",), cases=2)
    ]
    tables = part_of(html_report(make_report([*ours, *outside], pairs=(), metrics=(DICE,))), "empty-masks")
    names = '<th scope="row" class="words">ET</th><th scope="row" class="words">'
    assert f"{names}ours</th>" in tables
    assert f"{names}outside</th>" not in tables


def test_the_page_says_from_how_many_patients_on_intervals_are_shown(report):
    text = " ".join(html_report(report).split())
    assert "expanded percentiles, shown from 6 patients on; of HD95 studentised, shown from 12 on" in text


def test_the_page_says_where_patients_are_too_few_for_any_mark(report):
    text = " ".join(html_report(report).split())
    # Four or five patients; both regions of three subsets and of one average.
    assert "With 4 patients no test of a family of 6 can be marked: the smallest possible p is 0.125" in text
    assert "Each case counts as a patient of its own." in text
    assert "how much another training of them would differ is not in them" in text
    many = random_rows(models=("ours", "theirs"), modalities=AB, cases=9)
    enough = html_report(make_report(many, metrics=(DICE,), patients=3))
    assert "can be marked" not in enough
    assert "a patient of its own" not in enough


def test_every_comparison_is_listed_once(report):
    # Three subsets, "1 of 2", "2 of 2" and one average, of two regions, and the head.
    assert part_of(html_report(report), "comparisons").count("<tr>") == 6 * 2 + 1


def test_subsets_that_fill_no_number_are_summed_up_by_their_average():
    rows = [each for each in random_rows(modalities=AB) if each.subset == "A"]
    both = make_tables(rows, pairs=())
    few = MetricTables(both.by_subset, replace(both.by_count, columns=(), rows=()))
    text = html_report(make_report(rows, pairs=(), tables={DICE: few}, others={}, summary=summary_of(rows, both)))
    assert texts_of(part_of(text, "summary"), "th") == ["A", "B", "ours", "average of 1"]


def test_the_same_report_gives_the_same_text(report):
    assert html_report(report) == html_report(report)


def test_a_section_is_shown_as_it_is_given(report, tmp_path):
    save_png(Figure(figsize=(1, 1)), tmp_path / "what_it_is.png")
    table = SectionTable(
        "a < b",
        ("model", "gain", "p", "why"),
        (("3", "+1.5 (0.2 to 2.8)*", "< 0.001", "1 of 2"), ("4", "−0.1", "n/a", "so")),
    )
    section = Section(
        "power", "What <b>?", "Read it & see.", (table, SectionTable("empty", ("a", "b"), ())), ("what_it_is.png",)
    )
    text = part_of(html_report(replace(report, sections=[section], folder=tmp_path)), "power")
    assert "What &lt;b&gt;?" in text
    assert texts_of(text, "p") == ["Read it & see."]
    assert texts_of(text, "caption") == ["a < b", "empty"]
    assert (
        '<td class="number">+1.5 (0.2 to 2.8)*</td><td class="number">&lt; 0.001</td><td class="words">1 of 2</td>'
        in text
    )
    assert texts_of(text, "figcaption") == ["What <b>?: what it is"]


@pytest.mark.parametrize("anchors", [("summary",), ("a", "a"), ("A",), ("a b",), ("",)])
def test_an_anchor_that_is_taken_or_no_anchor_is_refused(report, anchors):
    with pytest.raises(ValueError, match=f"got '{anchors[-1]}'"):
        html_report(replace(report, sections=[Section(anchor, "What?", "So.") for anchor in anchors]))


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
    return make_report(
        rows,
        modalities=modalities,
        pairs=[models],
        tables={DICE: MetricTables(both.by_subset, by_count)},
        others={name: by_count},
        figures=[(name, picture), (name, picture)],
        gaps={name: ModalityGap(0.1, 0.2, 0.3, 0.4, 0.5)},
        provenance={name: name},
        failures=(name, name),
        sections=[Section("power", name, name, (SectionTable(name, (name,), ((name,),)),), (picture.name,))],
        folder=picture.parent,
    )


def test_hostile_names_stay_text_everywhere_on_a_page(tmp_path, monkeypatch):
    save_png(Figure(figsize=(1, 1)), tmp_path / "a.png")

    def of(name):
        monkeypatch.setattr(page, "TITLE", name)
        return parsed(html_report(report_of(name, tmp_path / "a.png")))

    hostile, harmless = of(HOSTILE), of("harmless")
    assert hostile.tags == harmless.tags
    assert hostile.tags.count("script") == 1
    assert [(tag, data.replace(HOSTILE, "harmless")) for tag, data in hostile.texts] == harmless.texts
    made = ("id", "href")  # of the letters of a name
    assert [
        (name, value.replace(HOSTILE, "harmless")) for name, value in hostile.attributes if value and name not in made
    ] == [(name, value) for name, value in harmless.attributes if value and name not in made]
    for attribute in ("alt", "aria-label", "value", "label"):
        assert any(HOSTILE in (value or "") for name, value in hostile.attributes if name == attribute) == (
            attribute != "label"
        )
    assert all(re.fullmatch(r"#?[a-z0-9_-]+", value) for name, value in hostile.attributes if name in made)
    named = {tag for tag, data in hostile.texts if HOSTILE in data}
    assert named == {
        "title", "h1", "a", "h2", "h3", "p", "li", "caption", "th", "td", "span", "option", "figcaption", "pre",
    }  # fmt: skip


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


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(report):
    text = html_report(report)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed.pop("default-src") == allowed.pop("base-uri") == allowed.pop("form-action") == "'none'"
    assert allowed.pop("img-src") == "data:"
    for rule, tag in (("style-src", "style"), ("script-src", "script")):
        (source,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
        assert allowed.pop(rule) == f"'sha256-{digest}'"
    assert allowed == {}
    assert text.index(policy) < text.index("<style>")
    assert not re.search(r"\bstyle=|\bon[a-z]+=\"", text)


def test_the_script_writes_no_markup_and_runs_no_text():
    script = Path(page.__file__).with_name("page.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bFunction\(|fetch\(|import\b", script
    )


def test_a_table_of_scores_has_dots_for_subsets_and_a_column_per_model():
    rows = random_rows(models=("ours", "theirs"), cases=2)
    text = table_of(html_report(make_report(rows, BRATS_NAMES, metrics=(DICE,))), "dice-et")
    assert texts_of(text[: text.index("</thead>")] + "</thead></table>", "th") == [
        *BRATS_NAMES, "ours", "theirs", "ours − theirs",
    ]  # fmt: skip
    cells = texts_of(text, "td")
    assert cells[:4] == ["●", "○", "○", "○"]
    assert sum(cell in "●○" for cell in cells if cell.strip()) == 15 * 4
    assert texts_of(text, "th")[-5:] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4", "average"]
    assert text.count('<tr class="average"') == 1
    assert '<th scope="row" colspan="5">average</th>' in text


def test_numbers_and_their_headings_are_aligned_right_and_words_are_not(report):
    text = part_of(html_report(report), "provenance")
    assert text.count('<td class="number">') == 2 * 2
    assert text.count('<th scope="col" class="number">') == 2
    assert '<th scope="row" class="words">theirs</th><td class="words">0</td><td class="number">4</td>' in text


def test_a_name_that_the_template_does_not_know_is_an_error():
    with pytest.raises(UndefinedError, match="is undefined"):
        page.TEMPLATES.get_template("page.html.j2").render()
