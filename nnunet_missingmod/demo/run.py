"""``nnunet_missingmod demo``: from nothing to a table over all subsets, through the commands of nnU-Net itself."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import fields
from pathlib import Path

from nnunet_missingmod import host, plans_block
from nnunet_missingmod.console import say
from nnunet_missingmod.demo.host_commands import Command, CommandError, program, run_command
from nnunet_missingmod.demo.settings import CONFIGURATION, DATASET_ID, PLANS, TRAINERS, DemoFolder, DemoSettings
from nnunet_missingmod.storage import write_text

_STEPS = 6
_FEW_CORES = 2
_VALIDATION_BATCHES = 30  # two per subset of four modalities


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``demo``."""
    defaults = {field.name: field.default for field in fields(DemoSettings)}
    shown = argparse.ArgumentDefaultsHelpFormatter
    parser.formatter_class = shown
    parser.add_argument("--output", type=Path, default=Path("nnunet_missingmod_demo"), help="folder of all results")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help="as nnU-Net's -device")
    parser.add_argument("--cases", type=int, default=defaults["cases"], help="training cases")
    parser.add_argument("--test-cases", type=int, default=defaults["test_cases"], help="test cases")
    parser.add_argument("--size", type=int, nargs=3, default=defaults["size"], help="voxels of the brain's box")
    parser.add_argument("--width", type=int, default=defaults["width"], help="features of the U-Net's first stage")
    parser.add_argument("--batch-size", type=int, default=defaults["batch_size"], help="slices per training step")
    parser.add_argument("--epochs", type=int, default=defaults["epochs"], help="epochs of each training")
    parser.add_argument("--iterations", type=int, default=defaults["iterations"], help="training steps per epoch")
    parser.add_argument("--seed", type=int, default=defaults["seed"], help="seed of the phantoms")


def run(args: argparse.Namespace) -> int:
    """Run the demo, or what is left of it; return 0 if the table was made, 1 if something failed."""
    settings = DemoSettings(
        cases=args.cases,
        test_cases=args.test_cases,
        size=tuple(args.size),
        width=args.width,
        batch_size=args.batch_size,
        epochs=args.epochs,
        iterations=args.iterations,
        seed=args.seed,
    )
    try:
        run_demo(DemoFolder(args.output.resolve()), settings, device=args.device)
    except (CommandError, host.HostError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run_demo(folder: DemoFolder, settings: DemoSettings, *, device: str) -> None:
    """Make phantoms, plan, train both models, predict every subset, and write the table and figures.

    Each step that is done already is left as it is; a training or prediction that was cut off is continued.

    Raises:
        CommandError: a command failed, or the folder holds something else.
        HostError: nnU-Net does not find this package.
    """
    if host.unattached():
        raise host.HostError("nnU-Net does not find this package yet. Run: nnunet_missingmod attach")
    began = time.monotonic()
    resumed = folder.claim(settings)
    say(f"{'Going on with' if resumed else 'Starting'} the demo in {folder.root}")
    _make_phantoms(folder, settings)
    _plan_and_preprocess(folder, settings)
    _train(folder, settings, device)
    stems = _write_inputs(folder)
    _predict(folder, stems, device)
    say(f"[6/{_STEPS}] score and draw")
    from nnunet_missingmod.demo.report import write_report

    say(write_report(folder, stems, jobs=2))
    say(f"Done after {(time.monotonic() - began) / 60:.1f} min. In {folder.root}:")
    say("  table.md, table.csv, table.png   Dice over all subsets of both models")
    say("  cases.png                        predictions beside references")
    say("  scores.csv                       every case, subset and region")


def _make_phantoms(folder: DemoFolder, settings: DemoSettings) -> None:
    say(f"[1/{_STEPS}] phantom dataset")
    from nnunet_missingmod.demo.phantom_dataset import write_dataset

    write_dataset(
        folder.dataset.parent,
        dataset_id=DATASET_ID,
        cases=settings.cases,
        test_cases=settings.test_cases,
        size=settings.size,
        seed=settings.seed,
        jobs=2,
    )


def _plan_and_preprocess(folder: DemoFolder, settings: DemoSettings) -> None:
    say(f"[2/{_STEPS}] nnUNetv2_plan_and_preprocess")
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
    say(f"[3/{_STEPS}] nnUNetv2_train, the same budget for both trainers")
    for trainer, title in TRAINERS.items():
        fold = folder.model(trainer) / "fold_0"
        if (fold / "validation" / "summary.json").exists():
            continue
        argv = [
            *(program("nnUNetv2_train"), str(DATASET_ID), CONFIGURATION, "0"),
            *("-tr", trainer, "-p", PLANS, "-device", device),
        ]
        argv += ["--c"] if any(fold.glob("checkpoint_*.pth")) else []
        command = Command(title, argv, folder.log(trainer), tick="Epoch time", ticks=settings.epochs)
        # With few cores, augmentation workers take from training what they give (the planner, though, fails on 0).
        workers = {"nnUNet_n_proc_DA": "0"} if (os.cpu_count() or 1) <= _FEW_CORES else {}
        run_command(command, {**folder.environment, **workers})


def _write_inputs(folder: DemoFolder) -> dict[tuple[str, str], str]:
    say(f"[4/{_STEPS}] every subset of every test case, as files that lack modalities")
    from nnunet_missingmod.inference.subset_folder import write_subset_folder
    from nnunet_missingmod.modalities import channel_names

    dataset_json = json.loads((folder.dataset / "dataset.json").read_text(encoding="utf-8"))
    return write_subset_folder(
        folder.dataset / "imagesTs_complete",
        folder.subsets,
        names=channel_names(dataset_json),
        file_ending=dataset_json["file_ending"],
    )


def _predict(folder: DemoFolder, stems: dict[tuple[str, str], str], device: str) -> None:
    say(f"[5/{_STEPS}] nnUNetv2_predict, {len(stems)} incomplete cases per model")
    for trainer, title in TRAINERS.items():
        target = folder.predictions(trainer)
        to_do = sum(not (target / f"{stem}.nii.gz").exists() for stem in stems.values())
        if not to_do:
            continue
        argv = [
            *(program("nnUNetv2_predict"), "-i", str(folder.subsets), "-o", str(target)),
            *("-d", str(DATASET_ID), "-c", CONFIGURATION, "-f", "0", "-tr", trainer, "-p", PLANS, "-device", device),
            *("-npp", "1", "-nps", "1", "--disable_tta", "--disable_progress_bar", "--continue_prediction"),
        ]
        log = folder.log(f"predict_{trainer}")
        run_command(Command(title, argv, log, tick="Predicting phantom", ticks=to_do), folder.environment)
