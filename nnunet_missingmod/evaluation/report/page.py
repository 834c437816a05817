"""The page of an evaluation: what was compared, tables of every region, figures, conventions, provenance.

What is shown is computed here; words and markup are in the template ``page.html.j2``, which escapes every value.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nnunet_missingmod.evaluation.aggregation import Column
from nnunet_missingmod.evaluation.conventions import DICE, Convention, Metric
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.report.figures import DOTS_PER_INCH
from nnunet_missingmod.evaluation.report.tables import FAMILIES, SIGNIFICANT, Table
from nnunet_missingmod.evaluation.report.text import cell_texts, comparison_cells
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.statistics import Bootstrap, Comparison

# What CSS calls an inch.
_PAGE_DOTS_PER_INCH = 96
TITLE = "Segmentation with missing modalities"
TEMPLATES = Environment(
    loader=PackageLoader(__package__, package_path=""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class MetricTables:
    """One metric by subset of modalities and by the number present."""

    by_subset: Table
    by_count: Table

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those of every subset and of the numbers present; the average over all subsets once."""
        shown = set(self.by_subset.columns)
        return (
            *self.by_subset.comparisons,
            *(each for each in self.by_count.comparisons if Column(each.heading, each.subsets) not in shown),
        )


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
    convention_reason: str = "as requested"

    @property
    def convention(self) -> Convention:
        """What empty masks score in the tables."""
        return self.tables[DICE].by_subset.convention


@dataclass(frozen=True)
class ScoreLine:
    """A line of a `ScoreTable`: whether each modality is present, or no dots but a heading; then a cell per model."""

    dots: tuple[bool, ...]
    heading: str
    cells: tuple[str, ...]
    is_average: bool


@dataclass(frozen=True)
class ScoreTable:
    """One region of a `Table`, turned so that its columns are lines and its models are columns, as text.

    ``names`` stand above the dots: the modalities, or what the headings are where no line has dots.
    """

    names: tuple[str, ...]
    models: tuple[str, ...]
    lines: tuple[ScoreLine, ...]

    @property
    def has_dots(self) -> bool:
        """Whether ``names`` are modalities, with dots below them."""
        return any(line.dots for line in self.lines)


def html_report(report: Report) -> str:
    """Return the page; the same report gives the same text."""
    dice = report.tables[DICE]
    others = {name: table for name, table in report.others.items() if table.columns}
    return TEMPLATES.get_template("page.html.j2").render(
        title=TITLE,
        report=report,
        dice=DICE,
        runs=_runs(report.rows),
        case_count=len({row.case for row in report.rows}),
        subset_count=len({row.subset for row in report.rows}),
        modalities=dice.by_subset.modalities,
        # The last group of regions is the one that averages them.
        in_short=_shown(dice.by_count, _regions(dice.by_count)[-1]) if dice.by_count.columns else None,
        regions={region: _every_metric(report.tables, region) for region in _regions(dice.by_subset)},
        comparisons=_lines_by_pair(dice.comparisons),
        families=FAMILIES,
        never_significant=_never_significant(dice.comparisons),
        figures=[_figure(caption, path.read_bytes()) for caption, path in report.figures],
        gaps=[_gap_line(model, gap) for model, gap in report.gaps.items()],
        convention_by_metric=[(metric.label, report.convention.text(metric)) for metric in report.tables],
        empty_masks=_empty_masks(report.rows),
        other_conventions=[_other_convention(name, table) for name, table in others.items()],
        tolerance_mm=min(row.nsd_tolerance_mm for row in report.rows),
    )


def score_table(table: Table, region: str) -> ScoreTable:
    """Return one region of a table, turned."""
    rows = [row for row in table.rows if row.region == region]
    texts = [cell_texts(row, table.metric) for row in rows]
    lines = []
    for index, column in enumerate(table.columns):
        dots = [channel in column.subsets[0] for channel in range(len(table.modalities))]
        lines.append(
            ScoreLine(
                dots=tuple(dots) if column.is_subset_of(table.modalities) else (),
                heading=column.heading,
                cells=tuple(text[index] for text in texts),
                is_average=bool(column.weights) or len({len(subset) for subset in column.subsets}) > 1,
            )
        )
    names = table.modalities if any(line.dots for line in lines) else ("modalities present",)
    return ScoreTable(names, tuple(row.model for row in rows), tuple(lines))


def _shown(table: Table, region: str) -> dict[str, Any]:
    """Return one region of a table with what stands above and below it."""
    return {"heading": f"{table.metric.heading}, {region}", "table": score_table(table, region), "note": table.note()}


def _every_metric(tables: Mapping[Metric, MetricTables], region: str) -> list[dict[str, Any]]:
    """Return one region's tables of every metric, by subset and, unless it has no columns, by number present."""
    return [
        {
            "heading": metric.heading,
            "tables": [score_table(table, region) for table in (both.by_subset, both.by_count) if table.columns],
            "note": both.by_subset.note(),
        }
        for metric, both in tables.items()
    ]


def _other_convention(name: str, table: Table) -> dict[str, Any]:
    """Return what the other tables do not show: Dice by number present where empty masks score otherwise."""
    return {
        "name": name,
        "rule": table.convention.text(table.metric),
        "regions": [
            {"heading": f"{region}, {table.metric.heading}", "table": score_table(table, region)}
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


def _figure(caption: str, png: bytes) -> dict[str, Any]:
    """Return a PNG file as text, and how wide it is shown: an inch of a figure is an inch of the page."""
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
    """Return by region and model how many predictions there are, and in how many which mask is empty."""
    regions, models = (dict.fromkeys(getattr(row, name) for row in rows) for name in ("region", "model"))
    counted = {(region, model): [0, 0, 0, 0] for region in regions for model in models}
    for row in rows:
        tally = counted[row.region, row.model]
        tally[0] += 1
        tally[1] += row.reference_voxels == 0 and row.predicted_voxels == 0
        tally[2] += row.reference_voxels == 0 < row.predicted_voxels
        tally[3] += row.predicted_voxels == 0 < row.reference_voxels
    return [[region, model, *tally] for (region, model), tally in counted.items()]
