"""The page of an evaluation: what was compared, tables of every region, figures, conventions, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_missingmod.evaluation.bootstrap import Bootstrap
from nnunet_missingmod.evaluation.comparison import Comparison
from nnunet_missingmod.evaluation.comparison_text import comparison_cells
from nnunet_missingmod.evaluation.conventions import DICE, Convention, Metric
from nnunet_missingmod.evaluation.html_page import (
    figure,
    page,
    paragraph,
    plain_table,
    preformatted,
    score_table,
    subheading,
)
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.tables import Table

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
