"""The questions that a report answers beyond its tables of scores: their numbers as CSV files, sections and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_missingmod.evaluation.aggregation import CaseValues, Column, ordered_subsets
from nnunet_missingmod.evaluation.conventions import DICE, Metric
from nnunet_missingmod.evaluation.detection import detections
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.lesion_detection import lesion_detections
from nnunet_missingmod.evaluation.modality_gain import modality_gains
from nnunet_missingmod.evaluation.model_order import Rank, orders
from nnunet_missingmod.evaluation.monotonicity import drops
from nnunet_missingmod.evaluation.noninferiority import noninferiority
from nnunet_missingmod.evaluation.power import resolutions
from nnunet_missingmod.evaluation.report.modality_questions import draw_gains, gain_section, monotonicity_section
from nnunet_missingmod.evaluation.report.model_questions import noninferiority_section, order_section, power_section
from nnunet_missingmod.evaluation.report.section import Section
from nnunet_missingmod.evaluation.report.text import records_to_csv
from nnunet_missingmod.evaluation.report.volume_questions import detection_section, lesion_section, volume_section
from nnunet_missingmod.evaluation.score_grid import ScoreGrid
from nnunet_missingmod.evaluation.volumes import volume_agreements
from nnunet_missingmod.modalities import Subset, subset_name
from nnunet_missingmod.storage import write_text

# With more subsets than these, sections show those of one modality, of all but one, and of all.
_MOST_SHOWN = 15


def answer_questions(
    values: CaseValues,
    grid: ScoreGrid,
    folder: Path,
    *,
    pairs: Sequence[tuple[str, str]],
    columns: Sequence[Column],
    shown_columns: Sequence[Column],
    ranks: Mapping[Metric, Sequence[Rank]],
    regions: Mapping[str, Sequence[str]],
    bootstrap: Bootstrap,
    patients: Mapping[str, str] | None = None,
    margin: float | None = None,
    margin_is_late: bool = False,
) -> list[Section]:
    """Write ``tables/*.csv`` and ``figures/modality_gain*.png`` of every question; return its sections.

    Files without a line are not written, and removed if an earlier report has left them.

    Args:
        values: Dice.
        grid: of the same rows.
        folder: of the report.
        pairs: (model, baseline) that are compared.
        columns: of the CSV files.
        shown_columns: those of them that the sections on models show.
        ranks: of every metric, in ``columns``.
        regions: groups of regions, as in `compare`.
        bootstrap: of the intervals.
        patients: the patient of a case where that is not the case itself.
        margin: of non-inferiority, in points of Dice; None if none was given.
        margin_is_late: whether there were scores before it was given.
    """
    power = resolutions(values, pairs, columns=columns, regions=regions, patients=patients)
    order = orders(values, columns=columns, regions=regions, patients=patients)
    no_worse = []
    if margin is not None:
        no_worse = noninferiority(
            values, pairs, margin=margin / DICE.factor, bootstrap=bootstrap, regions=regions, patients=patients
        )
    worse = drops(values, confidence=bootstrap.confidence, regions=regions, patients=patients)
    gains = modality_gains(values, bootstrap=bootstrap, regions=regions, patients=patients)
    volumes = volume_agreements(grid, bootstrap=bootstrap, patients=patients)
    found = detections(grid, bootstrap=bootstrap, patients=patients)
    lesions = lesion_detections(grid, bootstrap=bootstrap, patients=patients)
    files = {
        "power": records_to_csv(power),
        "order": records_to_csv(order),
        "noninferiority": records_to_csv(no_worse),
        "monotonicity": records_to_csv(worse),
        "modality_gain": records_to_csv(gains),
        "volumes": records_to_csv(volumes),
        "detection": records_to_csv(found),
        "lesions": records_to_csv(lesions),
        "ranks": _ranks_to_csv(ranks),
    }
    for name, text in files.items():
        file = folder / "tables" / f"{name}.csv"
        if text:
            write_text(file, text)
        else:  # what an earlier report left
            file.unlink(missing_ok=True)
    drawn = draw_gains(values, gains, folder / "figures", regions=regions)

    headings = [column.heading for column in shown_columns]
    complete_and_all = list(dict.fromkeys(headings[-2:]))
    shown_subsets = [subset_name(subset, values.modalities) for subset in _shown_subsets(values)]
    sections = (
        power_section(
            [each for each in power if each.subset in complete_and_all],
            found,
            patients=len(set(values.owners(patients))),
            cases=len(values.cases),
        ),
        order_section(
            [each for each in ranks.get(values.metric, ()) if each.subset in headings],
            order,
            shown_subsets=complete_and_all,
        ),
        noninferiority_section(no_worse, margin=margin, is_late=margin_is_late),
        monotonicity_section(worse),
        gain_section(gains, [path.relative_to(folder).as_posix() for _, path in drawn]),
        volume_section(volumes, shown_subsets=shown_subsets),
        detection_section(found, shown_subsets=shown_subsets),
        lesion_section(lesions, shown_subsets=shown_subsets),
    )
    return [section for section in sections if section is not None]


def _ranks_to_csv(ranks: Mapping[Metric, Sequence[Rank]]) -> str:
    """Return the ranks of all metrics as one CSV text."""
    texts = [records_to_csv(of_metric, metric=metric.name) for metric, of_metric in ranks.items()]
    header, *_ = texts[0].splitlines(keepends=True) or [""]
    return header + "".join("".join(text.splitlines(keepends=True)[1:]) for text in texts)


def _shown_subsets(values: CaseValues) -> list[Subset]:
    """Return the subsets that sections show: all, or of many those of one modality, of all but one, and of all."""
    count = len(values.modalities)
    subsets = ordered_subsets(values.modalities, scored=values.subsets)
    if len(subsets) <= _MOST_SHOWN:
        return subsets
    return [subset for subset in subsets if len(subset) in (1, count - 1, count)] or subsets[:_MOST_SHOWN]
