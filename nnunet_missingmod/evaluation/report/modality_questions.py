"""The report's sections on modalities: whether one more is ever worse, and what each one adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path

from nnunet_missingmod.evaluation.aggregation import CaseValues, Column, count_columns, subset_columns
from nnunet_missingmod.evaluation.intervals import SHOWN_FROM
from nnunet_missingmod.evaluation.modality_gain import ModalityGain
from nnunet_missingmod.evaluation.monotonicity import POINTS, Drops
from nnunet_missingmod.evaluation.report.heatmap import heatmap
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.evaluation.report.tables import Table, TableRow
from nnunet_missingmod.evaluation.report.text import interval_text
from nnunet_missingmod.evaluation.shares import SHARES_FROM
from nnunet_missingmod.modalities import ALL

# With more modalities the heatmap has a column per number of modalities in place of one per subset.
_MOST_WITH_SUBSETS = 4
# A heatmap of more columns or rows is legible no more; the CSV file has all.
_MOST_CELLS_ACROSS = 40
_MOST_CELLS_DOWN = 200


def monotonicity_section(found: Sequence[Drops]) -> Section | None:
    """Return how often one modality more is worse, or None with one modality."""
    if not found:
        return None
    modalities = list(dict.fromkeys(each.modality for each in found))
    by_row: dict[tuple[str, str], dict[str, Drops]] = {}
    for each in found:
        by_row.setdefault((each.region, each.model), {})[each.modality] = each
    body = tuple(
        (
            *row,
            str(of_row[modalities[0]].pairs),
            str(of_row[modalities[0]].left_out),
            *(interval_text(of_row[modality].share) if modality in of_row else "n/a" for modality in modalities),
        )
        for row, of_row in by_row.items()
    )
    text = (
        f"A case that has one modality more should not be segmented worse. Shown is the share of (case, S, S + q), in "
        f"percent, whose Dice is more than {POINTS:g} point lower with the modality q than without it, with its 95 % "
        f"interval over patients (Wilson's, from {SHARES_FROM} patients on). Pairs that lack one score are left out."
    )
    head = ("region", "model", "pairs", "left out", *("any" if each == ALL else f"+ {each}" for each in modalities))
    return Section(
        "more-is-not-worse",
        "Is a case ever worse with one modality more?",
        text,
        (SectionTable("Share of pairs that are worse with one modality more (%)", head, body),),
    )


def gain_section(found: Sequence[ModalityGain], figures: Sequence[str]) -> Section | None:
    """Return what each modality adds, averaged over all subsets, or None with one modality.

    Args:
        found: all gains.
        figures: names of the heatmaps' files beside the page.
    """
    if not found:
        return None
    whole = [each for each in found if each.over == "all subsets"]
    left_out = sum(each.left_out for each in found if each.over == "subset")
    modalities = list(dict.fromkeys(each.modality for each in whole))
    by_row: dict[tuple[str, str], dict[str, ModalityGain]] = {}
    for each in whole:
        by_row.setdefault((each.region, each.model), {})[each.modality] = each
    body = tuple(
        (
            *row,
            *(
                interval_text(of_row[modality].gain, signed=True) if modality in of_row else "n/a"
                for modality in modalities
            ),
        )
        for row, of_row in by_row.items()
    )
    text = (
        "The gain by a modality q is Dice(S + q) − Dice(S) of the same case, averaged over cases, in points, with its "
        f"95 % interval over patients (from {SHOWN_FROM} on). The heatmap shows it for each subset S that is there "
        "already (dots), or for each number of modalities; the file modality_gain.csv has every interval. A gain is "
        "what the model makes of the modality, not what the images hold."
        + (f" {left_out} pairs of which one score is missing are left out." if left_out else "")
    )
    caption = "Gain in Dice by a further modality, mean over all subsets without it (points)"
    head = ("region", "model", *(f"+ {each}" for each in modalities))
    tables = (SectionTable(caption, head, body),) if body else ()
    return Section("modality-gain", "What does each modality add?", text, tables, tuple(figures))


def draw_gains(
    values: CaseValues, found: Sequence[ModalityGain], folder: Path, *, regions: Mapping[str, Sequence[str]]
) -> list[tuple[str, Path]]:
    """Draw a heatmap of gains for each model, ``modality_gain.png``, numbered where there are several.

    Returns:
        The model and the file of each. None where there is nothing to draw, or more than a figure has room for.
    """
    columns = gain_columns(values)
    if not columns or len(columns) > _MOST_CELLS_ACROSS or len(regions) * len(values.modalities) > _MOST_CELLS_DOWN:
        return []
    drawn = []
    for position, model in enumerate(values.models):
        of_model = [each for each in found if each.model == model]
        if not of_model:
            continue
        table = gain_table(values, of_model, columns)
        number = f"_{position + 1}" if len(values.models) > 1 else ""
        path = folder / f"modality_gain{number}.png"
        heatmap(table, path, title=model if len(values.models) > 1 else "", undefined="")
        drawn.append((model, path))
    return drawn


def gain_columns(values: CaseValues) -> list[Column]:
    """Return the columns of the heatmap: the subsets to which a modality can be added, or the numbers present."""
    count = len(values.modalities)
    make = subset_columns if count <= _MOST_WITH_SUBSETS else count_columns
    sizes = [column for column in make(values.modalities, scored=values.subsets) if len(_sizes(column)) == 1]
    return [column for column in sizes if max(_sizes(column)) < count]


def _sizes(column: Column) -> set[int]:
    return {len(subset) for subset in column.subsets}


def gain_table(values: CaseValues, found: Sequence[ModalityGain], columns: Sequence[Column]) -> Table:
    """Return one model's gains as a table: a row per region and modality, a column per subset or number present."""
    by_row: dict[tuple[str, str], dict[str, ModalityGain]] = {}
    for each in found:
        by_row.setdefault((each.region, each.modality), {})[each.present] = each
    rows = []
    for (region, modality), of_row in by_row.items():
        cells = [of_row.get(column.heading) for column in columns]
        rows.append(
            TableRow(
                region=region,
                model=f"+ {modality}",
                values=tuple(nan if cell is None else cell.gain.mean for cell in cells),
                counts=tuple(0 if cell is None else cell.gain.count for cell in cells),
                is_difference=True,
            )
        )
    return Table(values.modalities, tuple(columns), tuple(rows), values.metric, values.convention)
