"""What does it cost in Dice if half of the training cases lack one or two modalities? On phantoms, equal steps.

    python benchmarks/incomplete_training.py FOLDER [--seeds 0 1 2] [--trainer nnUNetTrainerModalityDropout]

For each seed: phantoms are made twice, and from the training cases of the second set, half lose the files of one or two
modalities. nnU-Net's own commands plan, preprocess and train on both (fold 0, 2D, momentum 0.9 and learning rate 0.03:
nnU-Net's 0.99 and 0.01 are made for a hundred times as many steps); complete test cases are then evaluated under every
subset of their modalities. Prints the mean Dice over regions, subsets and test cases, and the difference of each seed.
What is done already is left as it is, so the script can be stopped and started again. Exit code 1 if the mean
difference is below -2 points.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_missingmod.demo.host_commands import Command, program, run_command
from nnunet_missingmod.demo.phantom_dataset import write_dataset
from nnunet_missingmod.demo.report import evaluate_models
from nnunet_missingmod.demo.settings import CONFIGURATION, DATASET_ID, PLANS, DemoFolder
from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.storage import write_text

ARMS = ("complete", "incomplete")
LARGEST_LOSS = 2.0  # points of Dice


def make_data(folder: DemoFolder, args: argparse.Namespace, *, seed: int, incomplete: bool) -> None:
    """Write phantoms; the same for both arms of a seed, but for the files removed."""
    done = folder.marker("data")
    if done.exists():
        return
    write_dataset(
        folder.dataset.parent,
        dataset_id=DATASET_ID,
        cases=args.cases,
        test_cases=args.test_cases,
        size=args.size,
        seed=seed,
        jobs=args.jobs,
        overwrite=True,
    )
    removed = {}
    if incomplete:
        names = channel_names(json.loads((folder.dataset / "dataset.json").read_text(encoding="utf-8")))
        rng = np.random.default_rng(seed)
        cases = sorted(file.name.removesuffix(".nii.gz") for file in (folder.dataset / "labelsTr").glob("*.nii.gz"))
        choices = [lost for size in (1, 2) for lost in combinations(range(len(names)), size)]
        for case in rng.permutation(cases)[: len(cases) // 2]:
            lost = choices[rng.integers(len(choices))]
            removed[str(case)] = [names[channel] for channel in lost]
            for channel in lost:
                (folder.dataset / "imagesTr" / f"{case}_{channel:04d}.nii.gz").unlink()
    done.parent.mkdir(parents=True, exist_ok=True)
    write_text(done, json.dumps(removed, indent=2))


def run(folder: DemoFolder, title: str, argv: Iterable[str], *, tick: str, ticks: int, **environment: str) -> None:
    """Run a command of nnU-Net unless it has been run to its end."""
    done = folder.marker(title)
    if done.exists():
        return
    name, *arguments = argv
    command = Command(title, [program(name), *arguments], folder.log(title), tick, ticks)
    run_command(command, {**folder.environment, **environment})
    done.touch()


def plan(folder: DemoFolder, args: argparse.Namespace) -> None:
    """Plan and preprocess, and write plans of the study's size and length."""
    argv = ["nnunet_missingmod", "plan", "-d", str(DATASET_ID), "-c", CONFIGURATION, "-np", "2", "-npfp", "2"]
    run(folder, "plan_and_preprocess", argv, tick=r" \d+/\d+ \[", ticks=2 * args.cases)
    plans = json.loads((folder.preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = PLANS
    chosen: dict[str, Any] = plans["configurations"][CONFIGURATION]
    arguments = chosen["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [args.width * 2**stage for stage in range(arguments["n_stages"])]
    chosen["batch_size"] = args.batch_size
    chosen["missingmod"] = {
        "num_epochs": args.epochs,
        "num_iterations_per_epoch": args.iterations,
        "num_val_iterations_per_epoch": 1,
        "save_every": 1,
        "momentum": 0.9,
        "initial_lr": 0.03,
    }
    write_text(folder.preprocessed / f"{PLANS}.json", json.dumps(plans, indent=2))


def train(folder: DemoFolder, args: argparse.Namespace) -> None:
    """Train, continuing what was cut off."""
    resume = ["--c"] if any((folder.model(args.trainer) / "fold_0").glob("checkpoint_*.pth")) else []
    argv = ["nnUNetv2_train", str(DATASET_ID), CONFIGURATION, "0", "-tr", args.trainer, "-p", PLANS]
    argv += ["-device", args.device, *resume]
    # With few cores, augmentation workers take from training what they give.
    run(folder, "train", argv, tick="Epoch time", ticks=args.epochs, nnUNet_n_proc_DA="0")


def score_arm(root: Path, arm: str, seed: int, args: argparse.Namespace) -> list[ScoreRow]:
    """Return the scores of an arm, from the file where they are there already."""
    folder = DemoFolder(root / f"{arm}-{seed}")
    scores = folder.root / "scores.csv"
    if scores.exists():
        return read_scores(scores)
    make_data(folder, args, seed=seed, incomplete=arm == "incomplete")
    plan(folder, args)
    train(folder, args)
    command = shlex.join(["python", *sys.argv])
    return evaluate_models(folder, {args.trainer: arm}, device=args.device, jobs=args.jobs, command=command)


def mean_dice(rows: Iterable[ScoreRow], count: int | None = None) -> float:
    """Return the mean Dice in points; a region that is empty in reference and prediction counts as 1."""
    values = [
        1.0 if row.reference_voxels == row.predicted_voxels == 0 else row.dice
        for row in rows
        if count in (None, row.num_present)
    ]
    return 100 * statistics.fmean(values)


def spread(values: list[float]) -> str:
    """Return the mean, and the range where there is one."""
    shown = f"{statistics.fmean(values):.1f}"
    return f"{shown} ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else shown


def report(rows: dict[str, list[list[ScoreRow]]], seeds: list[int]) -> float:
    """Print both arms by number of present modalities, and each seed's difference; return the mean difference."""
    counts = sorted({row.num_present for row in rows[ARMS[0]][0]})
    heads = ["training cases", "all subsets", *(f"{count} present" for count in counts)]
    print(f"\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for arm in ARMS:
        cells = [spread([mean_dice(run, count) for run in rows[arm]]) for count in (None, *counts)]
        print(f"| {arm} | {' | '.join(cells)} |")
    apart = [
        [mean_dice(lacking, count) - mean_dice(whole, count) for whole, lacking in zip(*rows.values(), strict=True)]
        for count in (None, *counts)
    ]
    print(f"| difference | {' | '.join(map(spread, apart))} |\n")
    for seed, value in zip(seeds, apart[0], strict=True):
        print(f"seed {seed}: {value:+.2f} points")
    return statistics.fmean(apart[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trainer", default="nnUNetTrainerModalityDropout")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    parser.add_argument("--cases", type=int, default=48, help="training cases, of which fold 0 trains on four fifths")
    parser.add_argument("--test-cases", type=int, default=12)
    parser.add_argument("--size", type=int, nargs=3, default=(40, 48, 40))
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    rows: dict[str, list[list[ScoreRow]]] = {arm: [] for arm in ARMS}
    for seed in args.seeds:
        for arm in ARMS:
            rows[arm].append(score_arm(args.folder.resolve(), arm, seed, args))
            print(f"seed {seed}, {arm}: {mean_dice(rows[arm][-1]):.1f}", flush=True)
    return int(report(rows, args.seeds) < -LARGEST_LOSS)


if __name__ == "__main__":
    sys.exit(main())
