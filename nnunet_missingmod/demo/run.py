"""The demo: from nothing to a table over all subsets, through nnU-Net's own commands and one evaluation."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from nnunet_missingmod import host, plans_block
from nnunet_missingmod.demo.host_commands import Command, program, run_command
from nnunet_missingmod.demo.settings import CONFIGURATION, DATASET_ID, PLANS, SHOWN, TRAINERS, DemoFolder, DemoSettings
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.storage import write_text

_STEPS = 6
_FEW_CORES = 2
_VALIDATION_BATCHES = 30  # two per subset of four modalities


def run_demo(
    folder: DemoFolder,
    settings: DemoSettings,
    *,
    device: str,
    jobs: int = 2,
    command: str = "nnunet_missingmod demo",
    report: Callable[[str], object],
) -> None:
    """Make phantoms, plan, train both models, predict incomplete cases, evaluate every subset, write the table.

    Each step that is done already is left as it is; a training or prediction that was cut off is continued.

    Args:
        folder: of everything that is made.
        settings: the demo's parameters.
        device: as ``choose_device`` takes it.
        jobs: processes that make phantoms, and that read, write and score in the evaluation.
        command: what was called, for the evaluation's report.
        report: called with each line that says how far the demo is.

    Raises:
        HostError: nnU-Net is not installed.
        UsageError: no demo is made with these settings, there is no such device, or the folder holds something else or
            cannot be written to.
        CommandError: a command or the evaluation failed.
    """
    host.host_folder()
    settings.check()
    from nnunet_missingmod.inference.device import choose_device

    try:
        device = str(choose_device(device))
    except ValueError as error:
        raise UsageError(str(error)) from error
    began = time.monotonic()
    resumed = folder.claim(settings)
    report(f"{'Going on with' if resumed else 'Starting'} the demo in {folder.root}")
    report(f"[1/{_STEPS}] phantom dataset")
    _make_phantoms(folder, settings, jobs)
    report(f"[2/{_STEPS}] nnUNetv2_plan_and_preprocess")
    _plan_and_preprocess(folder, settings)
    report(f"[3/{_STEPS}] nnUNetv2_train, the same budget for both trainers")
    _train(folder, settings, device)
    files, complete = _count_files(folder.test_images), _count_files(folder.complete_test_images)
    incomplete = sum(number < complete[case] for case, number in files.items())
    report(f"[4/{_STEPS}] nnUNetv2_predict, {len(files)} test cases, of which {incomplete} lack files")
    _predict(folder, files, device)
    from nnunet_missingmod.demo.report import evaluate_models, write_tables

    report(f"[5/{_STEPS}] evaluate every subset of every test case with both models")
    if not folder.marker("evaluate").exists():
        evaluate_models(folder, TRAINERS, device=device, jobs=jobs, command=command)
        folder.marker("evaluate").touch()
    report(f"[6/{_STEPS}] table and figures")
    report(write_tables(folder))
    report(f"Done after {(time.monotonic() - began) / 60:.1f} min. In {folder.root}:")
    made = {
        "table.md, table.csv, table.png": "Dice over all subsets of both models",
        "cases.png": "predictions beside references",
        "scores.csv": "every case, subset and region",
        "report.html": "the whole evaluation on one page",
        str(folder.host_predictions.relative_to(folder.root)): "nnUNetv2_predict on cases that lack files",
    }
    for name, what in made.items():
        report(f"  {name:31}  {what}")


def _make_phantoms(folder: DemoFolder, settings: DemoSettings, jobs: int) -> None:
    from nnunet_missingmod.demo.phantom_dataset import write_dataset

    write_dataset(
        folder.dataset.parent,
        dataset_id=DATASET_ID,
        cases=settings.cases,
        test_cases=settings.test_cases,
        size=settings.size,
        seed=settings.seed,
        jobs=jobs,
    )


def _plan_and_preprocess(folder: DemoFolder, settings: DemoSettings) -> None:
    if not folder.marker("plan_and_preprocess").exists():
        command = Command(
            title="plan and preprocess",
            argv=[
                *(program("nnUNetv2_plan_and_preprocess"), "-d", str(DATASET_ID), "-c", CONFIGURATION),
                *("-np", "2", "-npfp", "2"),
            ],
            log=folder.log("plan_and_preprocess"),
            tick=r" \d+/\d+ \[",
            ticks=2 * settings.cases,
        )
        run_command(command, folder.environment)
        folder.marker("plan_and_preprocess").touch()
    plans = json.loads((folder.preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = PLANS
    chosen = plans["configurations"][CONFIGURATION]
    arguments = chosen["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [settings.width * 2**stage for stage in range(arguments["n_stages"])]
    chosen["batch_size"] = settings.batch_size
    chosen[plans_block.BLOCK] = {
        "num_epochs": settings.epochs,
        "num_iterations_per_epoch": settings.iterations,
        "num_val_iterations_per_epoch": _VALIDATION_BATCHES,
        "save_every": 1,
        # nnU-Net's own 0.99 and 0.01 are made for a hundred times as many steps.
        "momentum": 0.9,
        "initial_lr": 0.03,
    }
    write_text(folder.preprocessed / f"{PLANS}.json", json.dumps(plans, indent=2))


def _train(folder: DemoFolder, settings: DemoSettings, device: str) -> None:
    for trainer, title in TRAINERS.items():
        fold = folder.model(trainer) / "fold_0"
        if (fold / "validation" / "summary.json").exists():
            continue
        argv = [
            *(program("nnUNetv2_train"), str(DATASET_ID), CONFIGURATION, "0"),
            *("-tr", trainer, "-p", PLANS, "-device", device.partition(":")[0]),
        ]
        argv += ["--c"] if any(fold.glob("checkpoint_*.pth")) else []
        command = Command(title, argv, folder.log(trainer), tick="Epoch time", ticks=settings.epochs)
        # With few cores, augmentation workers take from training what they give (the planner, though, fails on 0).
        workers = {"nnUNet_n_proc_DA": "0"} if (os.cpu_count() or 1) <= _FEW_CORES else {}
        run_command(command, {**folder.environment, **workers, **_visible(device)})


def _count_files(images: Path) -> Counter[str]:
    """Return how many files each case of a folder has."""
    return Counter(file.name.rsplit("_", 1)[0] for file in images.glob("*.nii.gz"))


def _predict(folder: DemoFolder, cases: Iterable[str], device: str) -> None:
    """Segment the test cases as they come by nnU-Net's own command, with the model trained for it."""
    to_do = sum(not (folder.host_predictions / f"{case}.nii.gz").exists() for case in cases)
    if not to_do:
        return
    argv = [
        *(program("nnUNetv2_predict"), "-i", str(folder.test_images), "-o", str(folder.host_predictions)),
        *("-d", str(DATASET_ID), "-c", CONFIGURATION, "-f", "0", "-tr", SHOWN, "-p", PLANS),
        *("-device", device.partition(":")[0]),
        *("-npp", "1", "-nps", "1", "--disable_tta", "--disable_progress_bar", "--continue_prediction"),
    ]
    log = folder.log(f"predict_{SHOWN}")
    command = Command(TRAINERS[SHOWN], argv, log, tick="Predicting phantom", ticks=to_do)
    run_command(command, {**folder.environment, **_visible(device)})


def _visible(device: str) -> dict[str, str]:
    """Return the variable that lets nnU-Net's commands, which take no number, see one GPU only."""
    number = device.partition(":")[2]
    if not number:
        return {}
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": seen.split(",")[int(number)] if seen else number}
