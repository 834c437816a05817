"""The page of an evaluation: a summary, a table to choose from, figures, the report's sections, then everything.

What is shown is computed here; words and markup are in the template ``page.html.j2``, which escapes every value. The
page is one file without any reference to another: style, script and figures lie in it, and its policy (CSP) forbids
the browser to load or run anything else. Without the script, and printed, everything is shown.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nnunet_missingmod.errors import counted
from nnunet_missingmod.evaluation.aggregation import Column
from nnunet_missingmod.evaluation.conventions import DICE, Convention, Metric
from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, SKEWED_FROM, Bootstrap
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.report.choice import ALL, anchors_of, choices_of, each_once, numbered
from nnunet_missingmod.evaluation.report.figures import DOTS_PER_INCH
from nnunet_missingmod.evaluation.report.leading import AHEAD, LEADS, NEAR, Cell, Lead, leads
from nnunet_missingmod.evaluation.report.score_table import ScoreTable, column_key, score_table
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.evaluation.report.summary import Summary
from nnunet_missingmod.evaluation.report.tables import FAMILIES, SIGNIFICANT, Table
from nnunet_missingmod.evaluation.report.text import comparison_cells
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.statistics import Comparison

# What CSS calls an inch.
_PAGE_DOTS_PER_INCH = 96
# Which figure stands in the summary, if it was drawn; else the first one does.
_SUMMARY_FIGURE = "dice_by_count.png"
# Anchors of the page itself, which no section may have.
_ANCHORS = (
    "summary", "choice", "figures", "tables", "comparisons", "modality-gap", "empty-masks", "definitions", "failures",
    "provenance",
)  # fmt: skip
# A cell that holds a number: with a sign or "<", a unit, an interval in brackets, marks; or none.
_NUMBER = re.compile(r"([<≤>≥+−-]? ?\d[\d.,]*( ?%| points?| mm)?( ?\([^)]*\))?|n/a|–|-)? ?[*†◆≈]*")
TITLE = "Segmentation with missing modalities"
TEMPLATES = Environment(
    loader=PackageLoader(__package__, package_path=""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.filters["counted"] = counted


@dataclass(frozen=True)
class MetricTables:
    """One metric by subset of modalities and by the number present.

    ``further`` are the comparisons of leading models with others that nobody asked for: see `further_pairs`.
    """

    by_subset: Table
    by_count: Table
    further: tuple[Comparison, ...] = ()

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those of every subset and of the numbers present; the average over all subsets once."""
        shown = set(self.by_subset.columns)
        return (
            *self.by_subset.comparisons,
            *(each for each in self.by_count.comparisons if Column(each.heading, each.subsets) not in shown),
        )

    @cached_property
    def leads(self) -> dict[Cell, Lead]:
        """The order of the models in every cell."""
        return leads((self.by_subset, self.by_count), (*self.comparisons, *self.further))


@dataclass(frozen=True)
class Report:
    """What the page shows: see `write_report`. ``folder`` is where the page will be, beside its sections' figures."""

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
    summary: Summary
    convention_reason: str = "as requested"
    sections: Sequence[Section] = ()
    folder: Path = Path()

    @property
    def convention(self) -> Convention:
        """What empty masks score in the tables."""
        return self.tables[DICE].by_subset.convention


def html_report(report: Report) -> str:
    """Return the page; the same report gives the same text.

    Raises:
        ValueError: two sections have the same anchor, or one has an anchor of the page's own.
    """
    _check_anchors(report.sections)
    dice = report.tables[DICE]
    others = {name: table for name, table in report.others.items() if table.columns}
    in_summary = [each for each in report.figures if each[1].name == _SUMMARY_FIGURE][:1] or report.figures[:1]
    style, script = (_source(name) for name in ("page.css", "page.js"))
    regions = _regions(dice.by_subset)
    modalities = dice.by_subset.modalities
    tables = [table for both in report.tables.values() for table in (both.by_subset, both.by_count)]
    columns = numbered(
        {column_key(column): column for table in tables for column in table.columns}.values(), modalities
    )
    leads_of = {metric: both.leads for metric, both in report.tables.items()}
    return TEMPLATES.get_template("page.html.j2").render(
        title=TITLE,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        report=report,
        dice=DICE,
        marks={"leads": LEADS, "near": NEAR, "ahead": AHEAD, "significant": SIGNIFICANT},
        runs=_runs(report.rows),
        case_count=len({row.case for row in report.rows}),
        subset_count=len({row.subset for row in report.rows}),
        modalities=modalities,
        in_short=_in_short(dice, report.summary.region, leads_of[DICE]),
        choices=choices_of(regions, report.tables, columns, modalities),
        line_numbers={column_key(column): number for number, column in enumerate(columns)},
        first_choice={
            "region": each_once(regions, [ALL])[regions.index(report.summary.region)],
            "metric": DICE.name,
            "subset": ALL,
            **_one_table(DICE, dice, report.summary.region, leads_of[DICE]),
        },
        notes=[(metric, both.by_subset.note()) for metric, both in report.tables.items()],
        regions=[
            {
                "name": region,
                "anchor": f"tables-{anchor}",
                "tables": [
                    {"anchor": f"{metric.name}-{anchor}", **_one_table(metric, both, region, leads_of[metric])}
                    for metric, both in report.tables.items()
                ],
            }
            for region, anchor in zip(regions, anchors_of(regions), strict=True)
        ],
        comparisons=_lines_by_pair(dice.comparisons),
        families=FAMILIES,
        never_significant=_never_significant(dice.comparisons),
        summary_figures=[_figure(*each) for each in in_summary],
        figures=[_figure(*each) for each in report.figures if each not in in_summary],
        sections_between=[_section(section, report.folder) for section in report.sections],
        gaps=[_gap_line(model, gap) for model, gap in report.gaps.items()],
        convention_by_metric=[(metric.label, report.convention.text(metric)) for metric in report.tables],
        empty_masks=_empty_masks(report.rows),
        other_conventions=[_other_convention(name, table) for name, table in others.items()],
        shown_from=SHOWN_FROM,
        skewed_from=SKEWED_FROM,
        tolerance_mm=min(row.nsd_tolerance_mm for row in report.rows),
    )


def _source(name: str) -> str:
    """Return a file beside the template, with the line ends that a browser reads, on which its hash depends."""
    assert TEMPLATES.loader is not None
    return "\n".join(TEMPLATES.loader.get_source(TEMPLATES, name)[0].splitlines())


def _hash(source: str) -> str:
    """Return the hash by which the page's policy knows its own style and script."""
    return "sha256-" + b64encode(sha256(source.encode("utf-8")).digest()).decode("ascii")


def _check_anchors(sections: Sequence[Section]) -> None:
    taken = set(_ANCHORS)
    for section in sections:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", section.anchor) or section.anchor in taken:
            raise ValueError(
                "A section's anchor is made of small letters, digits and hyphens, and is none of "
                f"{', '.join(sorted(taken))}; got {section.anchor!r}."
            )
        taken.add(section.anchor)


def _in_short(dice: MetricTables, region: str, of_dice: Mapping[Cell, Lead]) -> dict[str, Any]:
    """Return the table of the summary: by number of modalities, or the average alone where none has all its subsets."""
    table = score_table([dice.by_count] if dice.by_count.columns else [dice.by_subset], region, of_dice)
    if not dice.by_count.columns:
        averages = tuple(line for line in table.lines if line.is_average)
        table = ScoreTable(table.names, table.models, averages or table.lines[-1:])
    return {"caption": f"{region}, {DICE.heading}", "table": table}


def _one_table(metric: Metric, both: MetricTables, region: str, of_metric: Mapping[Cell, Lead]) -> dict[str, Any]:
    """Return a region's table of a metric with all its lines."""
    return {
        "caption": f"{region}, {metric.heading}",
        "table": score_table((both.by_subset, both.by_count), region, of_metric),
    }


def _section(section: Section, folder: Path) -> dict[str, Any]:
    """Return a section with its figures, as text."""
    return {
        "anchor": section.anchor,
        "title": section.title,
        "text": section.text,
        "tables": [{"table": table, "is_number": _number_columns(table)} for table in section.tables],
        "figures": [
            _figure(f"{section.title}: {Path(name).stem.replace('_', ' ')}", folder / name) for name in section.figures
        ],
    }


def _number_columns(table: SectionTable) -> list[bool]:
    """Return of each column whether its cells are numbers, by how they begin."""
    columns = list(zip(*table.body, strict=True)) or [() for _ in table.head]
    return [bool(cells) and all(map(_NUMBER.fullmatch, cells)) for cells in columns]


def _other_convention(name: str, table: Table) -> dict[str, Any]:
    """Return what the other tables do not show: Dice by number present where empty masks score otherwise."""
    return {
        "name": name,
        "rule": table.convention.text(table.metric),
        "regions": [
            {"caption": f"{region}, {table.metric.heading}", "table": score_table([table], region)}
            for region in _regions(table)
        ],
        "note": table.note(),
    }


def _regions(table: Table) -> list[str]:
    """Return a table's regions in order, each once."""
    return list(dict.fromkeys(row.region for row in table.rows))


def _runs(rows: Iterable[ScoreRow]) -> list[tuple[str, str, int, int]]:
    """Return of each model: its name, its folds, how many cases it scored, and how many if every fold's are added."""
    cases: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        cases.setdefault(row.model, {}).setdefault(row.fold, set()).add(row.case)
    return [
        (
            model,
            ", ".join(fold or "-" for fold in sorted(of_model)),
            len(set().union(*of_model.values())),
            sum(map(len, of_model.values())),
        )
        for model, of_model in cases.items()
    ]


def _lines_by_pair(comparisons: Iterable[Comparison]) -> dict[tuple[str, str], list[list[str]]]:
    """Return the comparisons of Dice as lines of text, by (model, baseline)."""
    lines: dict[tuple[str, str], list[list[str]]] = {}
    for each in comparisons:
        line = [each.region, each.heading, *comparison_cells(each, DICE), f"{each.tests} ({each.family})"]
        lines.setdefault((each.model, each.baseline), []).append(line)
    return lines


def _never_significant(comparisons: Iterable[Comparison]) -> list[tuple[int, int]]:
    """Return (patients, tests of the family) wherever even the smallest p of so few patients is corrected away."""
    sizes = {(each.wins + each.ties + each.losses, each.tests) for each in comparisons if each.tests}
    return sorted((patients, tests) for patients, tests in sizes if tests * 2 / 2**patients >= SIGNIFICANT)


def _figure(caption: str, path: Path) -> dict[str, Any]:
    """Return a PNG file as text, and how wide it is shown: an inch of a figure is an inch of the page."""
    png = path.read_bytes()
    width = int.from_bytes(png[16:20], "big")  # of the header, with which every PNG file begins
    return {
        "caption": caption,
        "base64": b64encode(png).decode("ascii"),
        "width_pixels": round(_PAGE_DOTS_PER_INCH * width / DOTS_PER_INCH),
    }


def _gap_line(model: str, gap: ModalityGap) -> list[str]:
    values = (gap.explained_variance, gap.paired_distance, gap.centroid_distance, gap.probe_accuracy, gap.chance)
    return [model, *(f"{value:.3f}" for value in values)]


def _empty_masks(rows: Sequence[ScoreRow]) -> list[list[Any]]:
    """Return by region and model how many predictions of known size there are, and in how many which mask is empty."""
    known = [row for row in rows if row.has_sizes]
    regions, models = (dict.fromkeys(getattr(row, name) for row in known) for name in ("region", "model"))
    counted = {(region, model): [0, 0, 0, 0] for region in regions for model in models}
    for row in known:
        tally = counted[row.region, row.model]
        tally[0] += 1
        tally[1] += row.reference_voxels == 0 and row.predicted_voxels == 0
        tally[2] += row.reference_voxels == 0 < row.predicted_voxels
        tally[3] += row.predicted_voxels == 0 < row.reference_voxels
    return [[region, model, *tally] for (region, model), tally in counted.items() if tally[0]]
