"""The page of an evaluation: what was compared, tables of every region, figures, conventions, provenance."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nnunet_missingmod.evaluation.conventions import DICE, Convention, Metric
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.report.tables import Table
from nnunet_missingmod.evaluation.report.text import cell_texts, comparison_cells
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.statistics import Bootstrap, Comparison

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


_DEFINITIONS = (
    "Dice: 2 |P and R| / (|P| + |R|) of prediction P and reference R, hard, per case, on the original geometry.",
    "HD95: the larger of the two directed 95th percentiles of the distances between the surfaces, in mm.",
    "NSD: the share of surface voxels of both masks that lie within {tolerance:g} mm of the other surface.",
    "A cell is the mean over cases; a column over several subsets is the mean of their cells.",
    "Intervals: {confidence:g} % percentile bootstrap over patients ({resamples} resamples, seed {seed}); a patient is "
    "drawn with all of its cases, subsets and regions.",
    "Cross-validation folds pool their cases. Where several folds or seeds of a model scored one case, they are "
    "averaged within the case.",
    "Tests: Wilcoxon's signed-rank test, one difference per patient, two-sided, zero differences ranked (Pratt); p "
    "values corrected by Holm over the subsets and regions of a pair of models, averages apart.",
)


@dataclass(frozen=True)
class MetricTables:
    """One metric by subset of modalities and by the number present."""

    by_subset: Table
    by_count: Table

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those of every subset and of the numbers present; the average over all subsets once."""
        headings = {column.heading for column in self.by_subset.columns}
        by_count = (each for each in self.by_count.comparisons if each.heading not in headings)
        return (*self.by_subset.comparisons, *by_count)


@dataclass(frozen=True)
class Report:
    """What the page shows: see `write_report`."""

    rows: tuple[ScoreRow, ...]
    raw_regions: tuple[str, ...]
    tables: Mapping[Metric, MetricTables]
    others: Mapping[str, Table]
    bootstrap: Bootstrap
    patients: int
    figures: Sequence[tuple[str, Path]]
    gaps: Mapping[str, ModalityGap]
    provenance: Mapping[str, Any]
    failures: tuple[str, ...]

    @property
    def convention(self) -> Convention:
        """What empty masks score in the tables."""
        return self.tables[DICE].by_subset.convention


def html_report(report: Report) -> str:
    """Return the page; the same report gives the same text."""
    sections = [("Overview", _overview(report))]
    sections += [(region, _region(report, region)) for region in _regions(report.tables[DICE].by_subset)]
    if report.tables[DICE].by_subset.comparisons:
        sections.append(("Comparisons", _comparisons(report)))
    sections.append(("Figures", [figure(path, caption) for caption, path in report.figures]))
    if report.gaps:
        sections.append(("Modality gap", _gaps(report.gaps)))
    sections.append(("Empty masks", _empty_masks(report)))
    sections.append(("Definitions", _definitions(report)))
    if report.failures:
        sections.append(("What could not be scored", [preformatted("\n".join(report.failures))]))
    values = [[name, str(value)] for name, value in report.provenance.items()]
    sections.append(("Provenance", [plain_table(["", ""], values, numbers_from=2)] if values else [paragraph("None.")]))
    return page("Segmentation with missing modalities", sections)


def _regions(table: Table) -> list[str]:
    return list(dict.fromkeys(row.region for row in table.rows))


def _overview(report: Report) -> list[str]:
    """Say which models, runs and cases there are, and show the last group of regions, which averages them."""
    runs: dict[str, dict[str, set[str]]] = {}
    for row in report.rows:
        runs.setdefault(row.model, {}).setdefault(row.fold, set()).add(row.case)
    body = [
        [
            model,
            ", ".join(fold or "-" for fold in sorted(of_model)),
            str(len(set().union(*of_model.values()))),
            str(sum(map(len, of_model.values()))),
        ]
        for model, of_model in runs.items()
    ]
    table = report.tables[DICE]
    parts = [
        paragraph(
            f"{len(runs)} model(s), {len({row.case for row in report.rows})} cases of {report.patients} patients, "
            f"{len(table.by_subset.columns) - 1} subsets of {', '.join(table.by_subset.modalities)}; regions "
            f"{', '.join(report.raw_regions)}. Dice in the convention {report.convention.name!r}."
        ),
        plain_table(["model", "folds or runs", "cases", "cases times runs"], body, numbers_from=2),
    ]
    if report.failures:
        parts.append(paragraph(f"{len(report.failures)} prediction(s) could not be scored: see below."))
    if table.by_count.columns:
        last = _regions(table.by_count)[-1]
        parts += [subheading(f"{table.by_count.metric.heading}, {last}"), score_table(table.by_count, last)]
        parts.append(paragraph(table.by_count.note(), note=True))
    return parts


def _region(report: Report, region: str) -> list[str]:
    parts = []
    for metric, both in report.tables.items():
        parts += [subheading(metric.heading), score_table(both.by_subset, region)]
        if both.by_count.columns:
            parts.append(score_table(both.by_count, region))
        parts.append(paragraph(both.by_subset.note(), note=True))
    return parts


def _comparisons(report: Report) -> list[str]:
    head = ["region", "subset", "difference", "wins / ties / losses", "p", "p (Holm)"]
    found: dict[tuple[str, str], list[list[str]]] = {}
    for each in report.tables[DICE].comparisons:
        line = [each.region, each.heading, *comparison_cells(each, DICE)]
        found.setdefault((each.model, each.baseline), []).append(line)
    parts = []
    for (model, baseline), body in found.items():
        parts += [subheading(f"{model} − {baseline}, {DICE.heading}"), plain_table(head, body, numbers_from=2)]
    return [*parts, paragraph("Wins, ties and losses count patients. HD95 and NSD are in comparisons.csv.", note=True)]


def _gaps(gaps: Mapping[str, ModalityGap]) -> list[str]:
    head = ["model", "variance explained by modality", "paired distance", "centroid distance", "linear probe", "chance"]
    body = [
        [model]
        + [f"{value:.3f}" for value in (gap.explained_variance, gap.paired_distance, gap.centroid_distance)]
        + [f"{gap.probe_accuracy:.3f}", f"{gap.chance:.3f}"]
        for model, gap in gaps.items()
    ]
    text = (
        "Variance explained: 0 where the modalities' means coincide, 1 where a latent says nothing but its modality. "
        "Paired distance: squared distance between modalities at one voxel over that between unrelated voxels, 0 where "
        "they coincide. Centroid distance: between the modalities' means on the unit sphere, 0 to 2. Linear probe: how "
        "often a linear classifier names the modality, on cases it was not fitted on. None depends on the scale."
    )
    return [plain_table(head, body), paragraph(text, note=True)]


def _empty_masks(report: Report) -> list[str]:
    regions, models = (dict.fromkeys(getattr(row, name) for row in report.rows) for name in ("region", "model"))
    counted = {(region, model): [0, 0, 0, 0] for region in regions for model in models}
    for row in report.rows:
        tally = counted[row.region, row.model]
        tally[0] += 1
        tally[1] += row.reference_voxels == 0 and row.predicted_voxels == 0
        tally[2] += row.reference_voxels == 0 < row.predicted_voxels
        tally[3] += row.predicted_voxels == 0 < row.reference_voxels
    body = [[region, model, *map(str, tally)] for (region, model), tally in counted.items()]
    stated = [[metric.label, report.convention.text(metric)] for metric in report.tables]
    head = ["region", "model", "predictions", "both empty", "reference empty only", "prediction empty only"]
    parts = [
        paragraph(f"In the tables above, the convention {report.convention.name!r}."),
        plain_table(["metric", "what it is"], stated, numbers_from=2),
        plain_table(head, body, numbers_from=2),
    ]
    for name, table in report.others.items():
        if not table.columns:
            continue
        parts.append(paragraph(f"In the convention {name!r} Dice is {table.convention.text(table.metric)}."))
        for region in _regions(table):
            parts += [subheading(f"{region}, {table.metric.heading}"), score_table(table, region)]
        parts.append(paragraph(table.note(), note=True))
    return parts


def _definitions(report: Report) -> list[str]:
    tolerances = sorted({row.nsd_tolerance_mm for row in report.rows})
    values = {
        "tolerance": tolerances[0],
        "confidence": 100 * report.bootstrap.confidence,
        "resamples": report.bootstrap.resamples,
        "seed": report.bootstrap.seed,
    }
    return [paragraph(text.format(**values)) for text in _DEFINITIONS]
