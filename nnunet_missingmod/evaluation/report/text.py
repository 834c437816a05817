"""Tables and comparisons as text: Markdown to read, LaTeX to print, CSV to compute with."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from math import isnan
from typing import Any
from urllib.parse import quote

from nnunet_missingmod.evaluation.aggregation import Column
from nnunet_missingmod.evaluation.conventions import DICE, Metric
from nnunet_missingmod.evaluation.intervals import Interval
from nnunet_missingmod.evaluation.report.leading import Cell, Lead
from nnunet_missingmod.evaluation.report.section import Section
from nnunet_missingmod.evaluation.report.tables import Table, TableRow
from nnunet_missingmod.evaluation.statistics import Comparison

_BOLD = "Bold: the best mean, and the models that cannot be told from it."
_IN_LATEX = str.maketrans(
    {
        "\\": "\\textbackslash{}",
        "&": "\\&",
        "%": "\\%",
        "$": "\\$",
        "#": "\\#",
        "_": "\\_",
        "{": "\\{",
        "}": "\\}",
        "|": "\\textbar{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "−": "$-$",
        "†": "\\textdagger{}",
        "±": "$\\pm$",
        "≥": "$\\geq$",
        "≤": "$\\leq$",
        "×": "$\\times$",
        "\n": " ",
        "\r": " ",
    }
)


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is; other characters than these are left, as UTF-8."""
    return text.translate(_IN_LATEX)


def shown(value: float, metric: Metric = DICE, *, signed: bool = False, decimals: int = 2) -> str:
    """Return a value as text in its metric's unit, ``"87.35"``; a difference with its sign; NaN as ``"n/a"``."""
    return number_text(metric.factor * value, signed=signed, decimals=decimals)


def number_text(value: float, *, signed: bool = False, decimals: int = 2) -> str:
    """Return a number as text, with its sign if ``signed``; NaN as ``"n/a"``."""
    if isnan(value):
        return "n/a"
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    # What rounds to nothing has no sign to show.
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def interval_text(interval: Interval, metric: Metric = DICE, *, signed: bool = False, decimals: int = 1) -> str:
    """Return a mean and its interval as text, ``"87.4 (85.1 to 89.0)"``; the mean alone where there is no interval."""
    mean, low, high = (
        shown(value, metric, signed=signed, decimals=decimals) for value in (interval.mean, interval.low, interval.high)
    )
    return mean if isnan(interval.low) else f"{mean} ({low} to {high})"


def cell_texts(row: TableRow, metric: Metric, *, intervals: bool = True) -> list[str]:
    """Return the cells of a row as text, with their intervals if the row has them, and with the row's marks."""
    texts = []
    for index, value in enumerate(row.values):
        if intervals and row.intervals:
            text = interval_text(row.intervals[index], metric, signed=row.is_difference, decimals=2)
        else:
            text = shown(value, metric, signed=row.is_difference)
        texts.append(text + row.marks[index] if row.marks else text)
    return texts


def to_markdown(table: Table, *, subsets_as_rows: bool = False) -> str:
    """Return the table in Markdown; upright, one line per column of the table, with ``subsets_as_rows``.

    The upright form has a column of dots for every modality, as printed tables have. Below the table stands its note.
    """
    texts = [cell_texts(row, table.metric) for row in table.rows]
    if subsets_as_rows:
        head = [*table.modalities, *(f"{row.region} {row.model}" for row in table.rows)]
        marks = [_dots(column, table.modalities) for column in table.columns]
        body = [[*mark, *(text[index] for text in texts)] for index, mark in enumerate(marks)]
        align = [":-:"] * len(table.modalities) + ["--:"] * len(table.rows)
    else:
        head = ["region", "model", *(column.heading for column in table.columns)]
        body = [[row.region, row.model, *text] for row, text in zip(table.rows, texts, strict=True)]
        align = ["---", "---"] + ["--:"] * len(table.columns)
    return markdown_table(head, align, body) + f"\n{_in_markdown(table.note())}\n"


def markdown_table(head: Sequence[str], align: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a table in Markdown."""
    lines = [[_in_markdown(cell) for cell in head], align, *([_in_markdown(cell) for cell in line] for line in body)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _in_markdown(text: str) -> str:
    """Return text that Markdown shows as it is: no cell ends, and nothing is italics, code, a link or a formula."""
    one_line = " ".join(text.split()) if "\n" in text or "\r" in text else text
    return re.sub(r"([\\`*_|\[\]~$])", r"\\\1", one_line).replace("&", "&amp;").replace("<", "&lt;")


def _dots(column: Column, modalities: Sequence[str]) -> list[str]:
    """Return a full or an empty dot per modality; of a column over several subsets its heading and empty cells."""
    if column.is_subset_of(modalities):
        return ["●" if channel in column.subsets[0] else "○" for channel in range(len(modalities))]
    return [column.heading] + [""] * (len(modalities) - 1)


def to_latex(
    table: Table, *, label: str = "", intervals: bool = False, leads: Mapping[Cell, Lead] | None = None
) -> str:
    """Return the table as a LaTeX ``table``, to be used with ``\\usepackage{booktabs}``.

    Subsets have no names but a row of dots for every modality above the columns, as the papers print them. Intervals
    of fifteen columns do not fit a page, so that they are left out unless asked for. Bold in a cell are those that
    have a mark there, see `Lead`.
    """
    columns, names = table.columns, table.modalities
    best = _best(table, leads or {})
    caption = table.note(intervals=intervals) + (f" {_BOLD}" if any(best.values()) else "")
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        "\\scriptsize",
        "\\setlength{\\tabcolsep}{2.5pt}",
        f"\\caption{{{escape_latex(caption)}}}",
        *([f"\\label{{{label}}}"] if label else []),
        f"\\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        "\\toprule",
    ]
    with_dots = [column.is_subset_of(names) for column in columns]
    if any(with_dots):
        for channel, name in enumerate(names):
            dots = ["\\bullet" if channel in column.subsets[0] else "\\circ" for column in columns]
            marks = [f"${dot}$" if has else "" for dot, has in zip(dots, with_dots, strict=True)]
            lines.append(f" & {escape_latex(name)} & {' & '.join(marks)} \\\\")
        lines.append("\\midrule")
    headings = ["" if has else escape_latex(column.heading) for column, has in zip(columns, with_dots, strict=True)]
    lines += [f"Region & Model & {' & '.join(headings)} \\\\", "\\midrule"]
    for index, row in enumerate(table.rows):
        starts = index == 0 or table.rows[index - 1].region != row.region
        if index and starts:
            lines.append("\\midrule")
        texts = [escape_latex(text) for text in cell_texts(row, table.metric, intervals=intervals)]
        for position in best.get(index, ()):
            texts[position] = f"\\textbf{{{texts[position]}}}"
        cells = [escape_latex(row.region) if starts else "", escape_latex(row.model), *texts]
        lines.append(" & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _best(table: Table, leads: Mapping[Cell, Lead]) -> dict[int, list[int]]:
    """Return {row: positions} of the cells of models that lead there or cannot be told from the one that does."""
    return {
        index: [
            position
            for position, column in enumerate(table.columns)
            if not column.weights
            and (lead := leads.get((row.region, frozenset(column.subsets)))) is not None
            and lead.mark(row.model)
        ]
        for index, row in enumerate(table.rows)
        if not row.is_difference
    }


def to_csv(table: Table) -> str:
    """Return the table as CSV text: region, model, then the columns in full precision, 0..1 or mm, NaN as ``nan``.

    Columns ``... low`` and ``... high`` follow if the table has intervals, and ``... p Holm`` if it has tests.
    """
    headings = [column.heading for column in table.columns]
    with_intervals = any(row.intervals for row in table.rows)
    with_tests = any(row.p_holm for row in table.rows)
    limits = [f"{heading} {end}" for heading in headings for end in ("low", "high")] if with_intervals else []
    tests = [f"{heading} p Holm" for heading in headings] if with_tests else []
    lines: list[Sequence[object]] = [["region", "model", *headings, *limits, *tests]]
    for row in table.rows:
        ends = [end for interval in row.intervals for end in (interval.low, interval.high)]
        lines.append([row.region, row.model, *row.values, *ends, *(row.p_holm or [""] * len(tests))])
    return _csv_text(lines)


def comparisons_to_csv(comparisons: Iterable[tuple[Metric, Comparison]]) -> str:
    """Return a line per metric, pair of models, region and column, in full precision, as fractions or mm.

    ``family`` names the tests over which ``p_holm`` is corrected, and ``tests`` is their number.
    """
    of_what = ("metric", "model", "baseline", "region", "subset")
    numbers = ("difference", "low", "high", "cases", "wins", "ties", "losses", "p", "p_holm", "family", "tests")
    lines: list[Sequence[object]] = [(*of_what, *numbers)]
    for metric, each in comparisons:
        interval = each.difference
        lines.append(
            (
                *(metric.name, each.model, each.baseline, each.region, each.heading),
                *(interval.mean, interval.low, interval.high, interval.count),
                *(each.wins, each.ties, each.losses, each.p, each.p_holm, each.family, each.tests),
            )
        )
    return _csv_text(lines)


def records_to_csv(records: Iterable[Any], **more: str) -> str:
    """Return records of one dataclass as CSV text: a column per field, in full precision, NaN as ``nan``.

    An interval is three columns, ``NAME``, ``NAME_low`` and ``NAME_high``, and its number of cases one, ``cases`` of
    the first interval of a record that has no such field and ``NAME_cases`` of any other; of an interval that counts
    patients, ``patients`` and ``NAME_patients``. ``more`` are columns before these, with one value each. Without
    records the text is empty.
    """
    lines: list[dict[str, object]] = []
    for record in records:
        line: dict[str, object] = dict(more)
        is_first = True
        for field in fields(record):
            value = getattr(record, field.name)
            if not isinstance(value, Interval):
                line[field.name] = value
                continue
            line |= {field.name: value.mean, f"{field.name}_low": value.low, f"{field.name}_high": value.high}
            has_bare_name = is_first and value.counts not in line
            line[value.counts if has_bare_name else f"{field.name}_{value.counts}"] = value.count
            is_first = False
        lines.append(line)
    return _csv_text([list(lines[0]), *(list(line.values()) for line in lines)]) if lines else ""


def sections_to_markdown(title: str, sections: Iterable[Section]) -> str:
    """Return a report's sections in Markdown, with links to their figures."""
    parts = [f"# {_in_markdown(title)}\n"]
    for section in sections:
        parts.append(f"## {_in_markdown(section.title)}\n\n{_in_markdown(section.text)}\n")
        for table in section.tables:
            align = ["---", *["--:"] * (len(table.head) - 1)]
            parts.append(f"{_in_markdown(table.caption)}\n\n{markdown_table(table.head, align, table.body)}")
        parts += [f"![{_in_markdown(section.title)}]({quote(figure)})\n" for figure in section.figures]
    return "\n".join(parts)


def _csv_text(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def comparison_cells(each: Comparison, metric: Metric) -> list[str]:
    """Return difference with interval, wins / ties / losses, p and corrected p as a reader wants them."""
    return [
        interval_text(each.difference, metric, signed=True, decimals=2),
        f"{each.wins} / {each.ties} / {each.losses}",
        p_text(each.p),
        p_text(each.p_holm),
    ]


def p_text(p: float) -> str:
    """Return a p value as text, ``"0.031"``, ``"< 0.001"``; NaN as ``"n/a"``."""
    if isnan(p):
        return "n/a"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
