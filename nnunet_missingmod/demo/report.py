"""The demo's result: both models evaluated under every subset of modalities, and the table and pictures of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from nnunet_missingmod.benchmarking.evaluate import evaluate
from nnunet_missingmod.benchmarking.named_models import NamedModel
from nnunet_missingmod.benchmarking.pictures import GRID
from nnunet_missingmod.benchmarking.report import SCORES
from nnunet_missingmod.benchmarking.request import Request
from nnunet_missingmod.benchmarking.store import PredictionSettings
from nnunet_missingmod.cases.dataset import read_dataset_json
from nnunet_missingmod.demo.host_commands import CommandError
from nnunet_missingmod.demo.settings import BASELINE, TRAINERS, DemoFolder
from nnunet_missingmod.evaluation.aggregation import count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS
from nnunet_missingmod.evaluation.metrics import DEFAULT_TOLERANCE_MM
from nnunet_missingmod.evaluation.report.heatmap import heatmap
from nnunet_missingmod.evaluation.report.tables import region_table
from nnunet_missingmod.evaluation.report.text import to_csv, to_markdown
from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores
from nnunet_missingmod.inference.device import choose_device
from nnunet_missingmod.inference.model_files import FINAL
from nnunet_missingmod.modalities import ALL, channel_names
from nnunet_missingmod.storage import write_text


def evaluate_models(
    folder: DemoFolder, models: Mapping[str, str], *, device: str, jobs: int, command: str
) -> list[ScoreRow]:
    """Predict every subset of the complete test cases with each model, score, and write the evaluation's report.

    Fold 0 predicts, without mirroring. ``scores.csv``, ``report.html`` and their folders come to lie in the demo's.
    Predictions that are there already are kept.

    Args:
        folder: with the models trained.
        models: {trainer: what tables call its model}; the others are compared with the first.
        device: as nnU-Net's -device.
        jobs: processes beside the network's.
        command: what was called, for the report.

    Raises:
        CommandError: something could not be predicted or scored.
    """
    request = Request(
        models=tuple(NamedModel(name, folder.model(trainer), (0,)) for trainer, name in models.items()),
        baseline=next(iter(models.values())),
        images=folder.complete_test_images,
        references=folder.references,
        checkpoint_name=FINAL,
        output=folder.root,
        subset_words=(ALL,),
        convention=BRATS.name,
        tolerance_mm=DEFAULT_TOLERANCE_MM,
        least_size={},
        label_map={},
        patient_pattern=None,
        settings=PredictionSettings(mirroring=False),
        device=choose_device(device),
        jobs=jobs,
        command=command,
    )
    try:
        failures = evaluate(request).failures
    except ValueError as error:
        raise CommandError(f"The models cannot be evaluated. {error}") from error
    if failures:
        raise CommandError(f"{len(failures)} failed in the evaluation of {folder.root}, the first: {failures[0]}")
    return read_scores(folder.root / SCORES)


def write_tables(folder: DemoFolder) -> str:
    """Write ``table.md``, ``table.csv``, ``table.png`` and ``cases.png`` from the evaluation; return a short table.

    Dice in percent, mean over cases; a region that is empty in prediction and reference counts as 100.
    """
    rows = read_scores(folder.root / SCORES)
    names = channel_names(read_dataset_json(folder.dataset))
    differences = [(model, TRAINERS[BASELINE]) for model in TRAINERS.values() if model != TRAINERS[BASELINE]]
    by_subset = region_table(rows, subset_columns(names), modalities=names, differences=differences)
    by_count = region_table(rows, count_columns(names), modalities=names, differences=differences)
    shown = to_markdown(by_count)
    write_text(folder.root / "table.md", f"{to_markdown(by_subset, subsets_as_rows=True)}\n\n{shown}\n")
    write_text(folder.root / "table.csv", to_csv(by_subset))
    heatmap(by_subset, folder.root / "table.png")
    shutil.copyfile(folder.root / GRID, folder.root / "cases.png")
    return shown
