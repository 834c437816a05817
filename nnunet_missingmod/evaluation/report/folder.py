"""The folder of a report: tables, figures, sections and one HTML page that holds them all, from score rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_missingmod.evaluation.aggregation import Column, count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import (
    AUTO,
    CONVENTIONS,
    DICE,
    METRICS,
    Convention,
    Metric,
    choose_convention,
)
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.modality_gap import Latents, modality_gap
from nnunet_missingmod.evaluation.model_order import Rank
from nnunet_missingmod.evaluation.prevalence import prevalence_column
from nnunet_missingmod.evaluation.report.figures import count_curve, difference_plot, latent_plot
from nnunet_missingmod.evaluation.report.heatmap import heatmap
from nnunet_missingmod.evaluation.report.leading import further_pairs
from nnunet_missingmod.evaluation.report.page import TITLE, MetricTables, Report, html_report
from nnunet_missingmod.evaluation.report.questions import answer_questions
from nnunet_missingmod.evaluation.report.section import Section
from nnunet_missingmod.evaluation.report.summary import summarise
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.report.text import (
    comparisons_to_csv,
    sections_to_markdown,
    to_csv,
    to_latex,
    to_markdown,
)
from nnunet_missingmod.evaluation.score_grid import grid_of
from nnunet_missingmod.evaluation.scores import ScoreRow, with_least_size
from nnunet_missingmod.evaluation.statistics import compare_pairs
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.storage import write_text

MEAN_OF_REGIONS = "mean of regions"
PAGE = "report.html"
SECTIONS = "report.md"


def write_report(
    rows: Iterable[ScoreRow],
    folder: Path,
    *,
    modalities: Sequence[str],
    pairs: Sequence[tuple[str, str]] = (),
    convention: Convention | str = AUTO,
    bootstrap: Bootstrap | None = None,
    patients: Mapping[str, str] | None = None,
    least_size: Mapping[str, int] | None = None,
    prevalence: Mapping[Subset, float] | None = None,
    pictures: Sequence[tuple[str, Path]] = (),
    latents: Mapping[str, Latents] | None = None,
    sections: Sequence[Section] = (),
    provenance: Mapping[str, Any] | None = None,
    failures: Sequence[str] = (),
    margin: float | None = None,
    margin_is_late: bool = False,
) -> Path:
    """Write ``tables/``, ``figures/``, ``report.md`` and ``report.html`` into a folder and return the page.

    The same rows give the same bytes.

    Args:
        rows: raw scores of one or more models.
        folder: made if need be; files of an earlier report are replaced.
        modalities: the J names in channel order.
        pairs: (model, baseline) that are compared.
        convention: what an empty mask scores, or its name, see `choose_convention`; a table in a convention of another
            Dice is in the page.
        bootstrap: of the confidence intervals.
        patients: the patient of a case where that is not the case itself.
        least_size: {region: voxels} to score under `with_least_size` too, beside the raw region.
        prevalence: how often each subset occurs, for a column of the mean that is weighted by it.
        pictures: (caption, PNG file) to show, such as a `qualitative_grid`.
        latents: of each model, for `latent_plot`.
        sections: on further questions, shown after the others; their figures lie in the folder already.
        provenance: names and values that say where the numbers come from: command, versions, models.
        failures: a line on everything that could not be scored.
        margin: of non-inferiority on complete cases, in points of Dice, if one was given.
        margin_is_late: whether there were scores before it was given.

    Raises:
        ValueError: the margin is not between 0 and 100, or as `pool`, `table_of`, `with_least_size` and `latent_plot`.
    """
    if margin is not None and not 0 < margin < 100:
        raise ValueError(f"A margin is a number of points of Dice between 0 and 100, got {margin}.")
    raw = list(rows)
    bootstrap = Bootstrap() if bootstrap is None else bootstrap
    raw_regions = tuple(dict.fromkeys(row.region for row in raw))
    scored = raw
    for region, voxels in (least_size or {}).items():
        scored = with_least_size(scored, region=region, voxels=voxels)
    grid = grid_of(scored, modalities)
    groups: dict[str, tuple[str, ...]] = {region: (region,) for region in dict.fromkeys(row.region for row in scored)}
    if len(raw_regions) > 1:
        groups[MEAN_OF_REGIONS] = raw_regions

    weighted = (prevalence_column(prevalence, modalities),) if prevalence else ()

    def tables(metric: Metric, used: Convention) -> MetricTables:
        values = pool(grid, modalities=modalities, metric=metric, convention=used)
        by_subset, by_count = (
            _each_once(columns(modalities, scored=values.scored)) for columns in (subset_columns, count_columns)
        )
        tests = compare_pairs(
            values, pairs, columns=(*by_subset, *by_count), bootstrap=bootstrap, regions=groups, patients=patients
        )
        table = partial(
            table_of,
            values,
            differences=pairs,
            bootstrap=bootstrap,
            regions=groups,
            patients=patients,
            comparisons=tests,
        )
        both = table((*by_subset, *weighted)), table((*by_count, *(weighted if by_count else ())))
        rivals = compare_pairs(
            values,
            further_pairs(both, pairs),
            columns=(*by_subset, *by_count),
            bootstrap=bootstrap,
            regions=groups,
            patients=patients,
        )
        return MetricTables(*both, tuple(rivals))

    if isinstance(convention, str):
        convention, why = choose_convention(convention, raw_regions)
    else:
        why = "as requested"
    by_metric = {metric: tables(metric, convention) for metric in METRICS.values()}
    others = {other.text(DICE): other for other in CONVENTIONS.values() if other.text(DICE) != convention.text(DICE)}
    for metric, of_metric in by_metric.items():
        _write_tables(of_metric, folder / "tables", metric)
    if pairs:
        compared = [(metric, each) for metric, both in by_metric.items() for each in both.comparisons]
        write_text(folder / "tables" / "comparisons.csv", comparisons_to_csv(compared))

    dice = by_metric[DICE]
    columns = {
        (column.heading, frozenset(column.subsets)): column
        for column in (*dice.by_subset.columns, *dice.by_count.columns)
        if not column.weights
    }
    answered = answer_questions(
        pool(grid, modalities=modalities, metric=DICE, convention=convention),
        grid,
        folder,
        pairs=pairs,
        columns=tuple(columns.values()),
        shown_columns=[each for each in dice.by_count.columns or dice.by_subset.columns if not each.weights],
        ranks={metric: _ranks(both) for metric, both in by_metric.items()},
        regions=groups,
        bootstrap=bootstrap,
        patients=patients,
        margin=margin,
        margin_is_late=margin_is_late,
    )
    answered += sections
    write_text(folder / SECTIONS, sections_to_markdown(TITLE, answered))

    figures = _draw(dice, folder / "figures", with_differences=bool(pairs))
    gaps = {model: modality_gap(of_model) for model, of_model in (latents or {}).items()}
    if latents:
        latent_plot(latents, folder / "figures" / "latents.png")
        figures.append(("Latents of every modality at the same voxels (t-SNE)", folder / "figures" / "latents.png"))
    page = html_report(
        Report(
            rows=tuple(scored),
            raw_regions=raw_regions,
            tables=by_metric,
            others={other.name: tables(DICE, other).by_count for other in others.values()},
            convention_reason=why,
            bootstrap=bootstrap,
            patients=len({(patients or {}).get(row.case, row.case) for row in raw}),
            figures=(*figures, *pictures),
            gaps=gaps,
            provenance=dict(provenance or {}),
            failures=tuple(failures),
            summary=summarise(
                pool(grid, modalities=modalities, convention=convention),
                by_metric[DICE].by_subset,
                by_metric[DICE].leads,
                regions=groups,
                bootstrap=bootstrap,
                patients=patients,
            ),
            sections=answered,
            folder=folder,
        )
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _ranks(both: MetricTables) -> tuple[Rank, ...]:
    """Return the ranks in both tables, those in columns that both have once."""
    return tuple(dict.fromkeys((*both.by_subset.ranks, *both.by_count.ranks)))


def _each_once(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns without those of the same subsets as an earlier one, such as the average over one subset."""
    first: dict[frozenset[Subset], Column] = {}
    for column in columns:
        first.setdefault(frozenset(column.subsets), column)
    return tuple(first.values())


def _write_tables(both: MetricTables, folder: Path, metric: Metric) -> None:
    """Write both tables in all three forms; a table without columns is not written."""
    leads = both.leads
    for name, table, is_wide in (("by_subset", both.by_subset, True), ("by_count", both.by_count, False)):
        if not table.columns:
            continue
        stem = f"{metric.name}_{name}"
        write_text(folder / f"{stem}.md", to_markdown(table, subsets_as_rows=is_wide))
        write_text(folder / f"{stem}.tex", to_latex(table, label=f"tab:{stem}", intervals=not is_wide, leads=leads))
        write_text(folder / f"{stem}.csv", to_csv(table))


def _draw(both: MetricTables, folder: Path, *, with_differences: bool) -> list[tuple[str, Path]]:
    """Draw the figures of the tables of Dice; return their captions and files."""
    figures = [("Dice of every subset (dots: modalities present)", folder / "dice_by_subset.png")]
    heatmap(both.by_subset, figures[-1][1])
    if both.by_count.columns:
        figures.append(("Dice against the number of modalities present", folder / "dice_by_count.png"))
        count_curve(both.by_count, figures[-1][1])
    if with_differences:
        caption = "Differences in Dice, subset by subset; full dots: p < 0.05 after correction"
        figures.append((caption, folder / "dice_differences.png"))
        difference_plot(both.by_subset, figures[-1][1])
    return figures
