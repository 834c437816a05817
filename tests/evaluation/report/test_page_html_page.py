from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, rows_of

from nnunet_missingmod.evaluation.aggregation import count_columns, subset_columns
from nnunet_missingmod.evaluation.report.page import (
    figure,
    page,
    paragraph,
    plain_table,
    preformatted,
    score_table,
    subheading,
)
from nnunet_missingmod.evaluation.report.tables import region_table

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


@pytest.mark.parametrize("make", [paragraph, subheading, preformatted])
def test_text_is_shown_and_never_read_as_markup(make):
    parser = parsed(make(HOSTILE))
    assert "".join(data for _, data in parser.texts).strip() == HOSTILE
    assert "script" not in parser.tags


def test_hostile_names_stay_text_everywhere_on_a_page(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    table = region_table(
        rows_of({"A": (0.5,)}, model=HOSTILE, region=HOSTILE), subset_columns(AB, scored=[(0,)]), modalities=AB
    )
    columns = tuple(replace(column, heading=HOSTILE) for column in count_columns(AB))
    by_count = region_table(rows_of({"A": (0.5,)}, region=HOSTILE), columns, modalities=AB)
    parts = [
        score_table(by_count, HOSTILE),
        plain_table([HOSTILE], [[HOSTILE]]),
        figure(tmp_path / "a.png", HOSTILE),
        score_table(table, HOSTILE),
    ]
    parser = parsed(page(HOSTILE, [(HOSTILE, parts)], lead=[paragraph(HOSTILE)]))
    assert "script" not in parser.tags
    assert sum(data == HOSTILE for _, data in parser.texts) == 9 + len(columns)


def test_a_page_is_whole_and_links_to_its_sections():
    text = page("title", [("First", [paragraph("one")]), ("Second", [paragraph("two")])])
    assert text.startswith("<!DOCTYPE html>")
    assert '<meta charset="utf-8">' in text
    targets = re.findall(r'href="#(\w+)"', text)
    assert targets == re.findall(r'<h2 id="(\w+)"', text)
    assert len(targets) == 2


def test_a_figure_lies_within_the_page(tmp_path):
    content = bytes(range(256))
    (tmp_path / "a.png").write_bytes(content)
    (source,) = re.findall(r'src="data:image/png;base64,([^"]+)"', figure(tmp_path / "a.png", "what it shows"))
    assert base64.b64decode(source) == content


def test_a_table_of_scores_has_dots_for_subsets_and_a_column_per_model():
    rows = random_rows(models=("ours", "theirs"))
    table = region_table(rows, subset_columns(BRATS_NAMES), modalities=BRATS_NAMES, differences=[("ours", "theirs")])
    text = score_table(table, "ET")
    assert texts_of(text, "th") == [*BRATS_NAMES, "ours", "theirs", "ours − theirs"]
    cells = texts_of(text, "td")
    assert cells[:5] == ["●", "○", "○", "○", f"{100 * table.rows[3].values[0]:.2f}"]
    assert sum(cell in "●○" for cell in cells) == 15 * 4
    assert cells[-4] == "average"
    assert len(cells) == 15 * (4 + 3) + 1 + 3


def test_a_table_by_count_has_headings_in_place_of_dots():
    table = region_table(random_rows(), count_columns(BRATS_NAMES), modalities=BRATS_NAMES)
    text = score_table(table, "WT")
    assert texts_of(text, "th") == ["modalities present", "ours"]
    assert texts_of(text, "td")[::2] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4", "average"]


def test_numbers_are_aligned_from_the_column_that_is_asked_for():
    text = plain_table(["a", "b", "c"], [["x", "y", "1"]], numbers_from=2)
    assert text.count('class="number"') == 1
    assert '<td class="number">1</td>' in text
