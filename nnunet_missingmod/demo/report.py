"""The demo's result: Dice of both models over all subsets as a table, a heatmap, and a grid of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nnunet_missingmod.demo.host_commands import CommandError
from nnunet_missingmod.demo.settings import BASELINE, TRAINERS, DemoFolder
from nnunet_missingmod.evaluation.aggregation import count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import brats_regions
from nnunet_missingmod.evaluation.report.heatmap import heatmap
from nnunet_missingmod.evaluation.report.qualitative import QualitativeCase, qualitative_grid
from nnunet_missingmod.evaluation.report.tables import region_table
from nnunet_missingmod.evaluation.report.text import to_csv, to_markdown
from nnunet_missingmod.evaluation.scores import ScoreRow, score_predictions, write_scores
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.storage import write_text

_SHOWN_SUBSETS = ("T1", "FLAIR", "T1ce", "FLAIR+T1ce", "FLAIR+T1+T1ce+T2")
_SHOWN_CASES = 3


def write_report(folder: DemoFolder, stems: Mapping[tuple[str, str], str], *, jobs: int) -> str:
    """Score every prediction, write ``scores.csv``, tables and figures, and return the table as Markdown.

    Raises:
        CommandError: a prediction is missing or cannot be scored.
    """
    dataset_json = json.loads((folder.dataset / "dataset.json").read_text(encoding="utf-8"))
    names = channel_names(dataset_json)
    ending = dataset_json["file_ending"]
    regions = brats_regions(dataset_json)
    if regions is None:
        raise CommandError(f"{folder.dataset} is not the phantom dataset: its labels are {dataset_json['labels']}.")
    rows: list[ScoreRow] = []
    for trainer, model in TRAINERS.items():
        files = {key: folder.predictions(trainer) / f"{stem}{ending}" for key, stem in stems.items()}
        scoring = score_predictions(
            files, folder.dataset / "labelsTs", regions, model=model, modalities=names, file_ending=ending, jobs=jobs
        )
        if scoring.refused:
            (case, subset), reason = next(iter(scoring.refused.items()))
            raise CommandError(f"{len(scoring.refused)} predictions of {trainer}, first {case} {subset}: {reason}")
        rows += scoring.rows
    write_scores(rows, folder.root / "scores.csv")

    differences = [(model, TRAINERS[BASELINE]) for model in TRAINERS.values() if model != TRAINERS[BASELINE]]
    by_subset = region_table(rows, subset_columns(names), modalities=names, differences=differences)
    by_count = region_table(rows, count_columns(names), modalities=names, differences=differences)
    shown = to_markdown(by_subset, subsets_as_rows=True)
    write_text(folder.root / "table.md", f"{shown}\n\n{to_markdown(by_count)}\n")
    write_text(folder.root / "table.csv", to_csv(by_subset))
    heatmap(by_subset, folder.root / "table.png")
    qualitative_grid(
        _shown_cases(folder, rows, stems, ending),
        folder.root / "cases.png",
        models=list(TRAINERS.values()),
        subsets=_SHOWN_SUBSETS,
        regions=regions,
    )
    return to_markdown(by_count)


def _shown_cases(
    folder: DemoFolder, rows: list[ScoreRow], stems: Mapping[tuple[str, str], str], ending: str
) -> list[QualitativeCase]:
    """The first cases that have enhancing tumour, with their first channel to draw on."""
    cases = list(dict.fromkeys(row.case for row in rows))
    enhancing = [case for case in cases if _has_label(folder.dataset / "labelsTs" / f"{case}{ending}", label=3)]
    return [
        QualitativeCase(
            case=case,
            image=folder.dataset / "imagesTs_complete" / f"{case}_0000{ending}",
            reference=folder.dataset / "labelsTs" / f"{case}{ending}",
            predictions={
                (model, subset): folder.predictions(trainer) / f"{stems[case, subset]}{ending}"
                for trainer, model in TRAINERS.items()
                for subset in _SHOWN_SUBSETS
            },
        )
        for case in (enhancing or cases)[:_SHOWN_CASES]
    ]


def _has_label(file: Path, *, label: int) -> bool:
    import SimpleITK as sitk

    return bool((sitk.GetArrayViewFromImage(sitk.ReadImage(str(file))) == label).any())
