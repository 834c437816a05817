"""Parts of a static HTML page that needs nothing but itself: no network, no scripts, images within the file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

from nnunet_missingmod.evaluation.table_text import cell_texts
from nnunet_missingmod.evaluation.tables import Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; }
h2 { font-size: 1.3em; margin-top: 2.2em; border-bottom: 1px solid #ccc; }
h3 { font-size: 1em; }
nav a { margin-right: 1em; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 0.6em 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2em 0.6em; text-align: left; border-bottom: 1px solid #e3e3e3; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; } td.dot { text-align: center; padding: 0.2em; }
tr.average td { border-top: 2px solid #999; font-weight: 600; }
figure { margin: 1em 0; } img { max-width: 100%; height: auto; }
figcaption, p.note { color: #555; font-size: 13px; } pre { background: #f4f4f4; padding: 0.8em; overflow-x: auto; }
"""


def page(title: str, sections: Sequence[tuple[str, Sequence[str]]], *, lead: Sequence[str] = ()) -> str:
    """Return a whole page: a title, what leads in, and sections of (heading, parts) with links to them.

    Parts are HTML as the other functions here return it; title and headings are text.
    """
    links = "".join(f'<a href="#s{index}">{escape(heading)}</a>' for index, (heading, _) in enumerate(sections))
    body = "".join(
        f'<h2 id="s{index}">{escape(heading)}</h2>\n{"".join(parts)}' for index, (heading, parts) in enumerate(sections)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{''.join(lead)}<nav>{links}</nav>\n"
        f"{body}</body>\n</html>\n"
    )


def paragraph(text: str, *, note: bool = False) -> str:
    """Return a paragraph of text, smaller if it is a note."""
    return _element("p", escape(text), kind="note" if note else "") + "\n"


def subheading(text: str) -> str:
    """Return a heading below a section's."""
    return _element("h3", escape(text)) + "\n"


def preformatted(text: str) -> str:
    """Return text as it stands, line by line."""
    return _element("pre", escape(text)) + "\n"


def figure(png: Path, caption: str) -> str:
    """Return a PNG file as an image within the page, with a caption that stands for it where it cannot be seen."""
    content = b64encode(png.read_bytes()).decode("ascii")
    words = escape(caption)
    image = f'<img alt="{words}" src="data:image/png;base64,{content}">'
    return _element("figure", image + _element("figcaption", words)) + "\n"


def plain_table(head: Sequence[str], body: Sequence[Sequence[str]], *, numbers_from: int = 1) -> str:
    """Return lines of cells as a table; columns from ``numbers_from`` on are aligned as numbers."""
    lines = ["".join(_element("th", escape(cell)) for cell in head)]
    for line in body:
        kinds = ["number" if index >= numbers_from else "" for index in range(len(line))]
        lines.append("".join(_element("td", escape(cell), kind=kind) for cell, kind in zip(line, kinds, strict=True)))
    return _table([_element("tr", line) for line in lines])


def score_table(table: Table, region: str) -> str:
    """Return one region of a table upright: a line per column, dots for the modalities, a column per model."""
    rows = [row for row in table.rows if row.region == region]
    texts = [cell_texts(row, table.metric) for row in rows]
    with_dots = any(column.is_subset_of(table.modalities) for column in table.columns)
    names = table.modalities if with_dots else ("modalities present",)
    lines = [_element("tr", "".join(_element("th", escape(name)) for name in (*names, *(row.model for row in rows))))]
    for index, column in enumerate(table.columns):
        if column.is_subset_of(table.modalities):
            dots = ["●" if channel in column.subsets[0] else "○" for channel in range(len(names))]
            marks = "".join(_element("td", dot, kind="dot") for dot in dots)
        else:
            marks = f'<td colspan="{len(names)}">{escape(column.heading)}</td>'
        values = "".join(_element("td", escape(text[index]), kind="number") for text in texts)
        is_average = len({len(subset) for subset in column.subsets}) > 1
        lines.append(_element("tr", marks + values, kind="average" if is_average else ""))
    return _table(lines)


def _table(lines: Sequence[str]) -> str:
    content = "\n".join(lines)
    return f'<div class="scroll"><table>\n{content}\n</table></div>\n'


def _element(name: str, content: str, *, kind: str = "") -> str:
    """Return an element around content that is HTML already."""
    return f'<{name} class="{kind}">{content}</{name}>' if kind else f"<{name}>{content}</{name}>"
