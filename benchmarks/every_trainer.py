"""Run every trainer of the menu through nnU-Net's own commands on phantoms: train, continue, validate, predict.

    python benchmarks/every_trainer.py FOLDER [--trainers NAME ...] [--configuration 3d_fullres]

For each trainer: ``nnUNetv2_train`` for one epoch of two steps, ``--c`` for a second epoch, ``--val``, and
``nnUNetv2_predict`` on test cases that lack files; what only pretrains predicts nothing, so in the place of that a
training starts from it. The teachers come first, for those that learn from it. Prints a line per trainer with the
seconds of each command; exit code 1 if any failed. Says nothing about accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nnunet_missingmod.choices import PRETRAINERS, TEACHERS
from nnunet_missingmod.demo.host_commands import program
from nnunet_missingmod.demo.phantom_dataset import write_dataset
from nnunet_missingmod.host import VARIABLE, external_value
from nnunet_missingmod.reference import trainer_entries
from nnunet_missingmod.storage import write_text
from nnunet_missingmod.training.checkpoints import PRETRAINED

DATASET_ID = 503
DATASET = f"Dataset{DATASET_ID}_Phantom"
PLANS = "nnUNetPlans"
STEPS = ("train", "--c", "--val", "predict")
STARTS_FROM_IT = {
    "nnUNetTrainerMaskedPretraining": "nnUNetTrainerHolderMISelf",
    "nnUNetTrainerM3AEPretrain": "nnUNetTrainerM3AE",
}


def set_plans(folder: Path, configuration: str, epochs: int) -> None:
    """Shrink the plans' network and set the number of epochs."""
    file = folder / "nnUNet_preprocessed" / DATASET / f"{PLANS}.json"
    plans = json.loads(file.read_text(encoding="utf-8"))
    chosen = plans["configurations"][configuration]
    architecture = chosen["architecture"]["arch_kwargs"]
    architecture["features_per_stage"] = [8] * architecture["n_stages"]
    chosen["missingmod"] = {"num_epochs": epochs, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 2}
    write_text(file, json.dumps(plans, indent=2))


def call(folder: Path, log: str, *command: str) -> float:
    """Run a command with its output in a log file; return its seconds.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    began = time.monotonic()
    with (folder / "logs" / f"{log}.txt").open("a", encoding="utf-8") as output:
        argv = [program(command[0]), *command[1:]]
        subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def prepare(folder: Path, configuration: str) -> None:
    """Make phantoms, whose test cases lack files, and preprocess them; nothing where that is done."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[variable] = str(folder / variable)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", VARIABLE: external_value()}
    write_dataset(folder / "nnUNet_raw", dataset_id=DATASET_ID, cases=6, test_cases=3, size=(32, 32, 32))
    if not (folder / "nnUNet_preprocessed" / DATASET / f"{PLANS}_{configuration}").exists():
        arguments = ("-d", str(DATASET_ID), "-c", configuration, "-np", "1", "-npfp", "1")
        call(folder, "plan_and_preprocess", "nnUNetv2_plan_and_preprocess", *arguments)


def run_trainer(folder: Path, trainer: str, configuration: str) -> dict[str, float]:
    """Take a trainer through the four commands and return their seconds; stops at the first that fails."""
    train = ("nnUNetv2_train", str(DATASET_ID), configuration, "0", "-tr", trainer, "-p", PLANS, "-device", "cpu")
    output = folder / "predictions" / trainer
    predict = (
        *("nnUNetv2_predict", "-i", str(folder / "nnUNet_raw" / DATASET / "imagesTs"), "-o", str(output)),
        *("-d", str(DATASET_ID), "-c", configuration, "-f", "0", "-tr", trainer, "-p", PLANS, "-device", "cpu"),
        *("-npp", "1", "-nps", "1", "--disable_tta"),
    )
    commands = {
        "train": (train, 1),
        "--c": ((*train, "--c"), 2),
        "--val": ((*train, "--val"), 2),
        "predict": (predict, 2),
    }
    pretrains = trainer in PRETRAINERS
    if pretrains:
        results = folder / "nnUNet_results" / DATASET / f"{trainer}__{PLANS}__{configuration}"
        start = tuple(STARTS_FROM_IT[trainer] if word == trainer else word for word in train)
        commands["predict"] = (
            (*start, "-pretrained_weights", str(results / "fold_0" / PRETRAINED)),
            1,
        )
    seconds: dict[str, float] = {}
    for step in STEPS:
        command, epochs = commands[step]
        set_plans(folder, configuration, epochs)
        try:
            seconds[step] = call(folder, trainer, *command)
        except subprocess.CalledProcessError:
            break
    expected = folder / "nnUNet_raw" / DATASET / "labelsTs"
    if (
        not pretrains
        and len(seconds) == len(STEPS)
        and any(not (output / file.name).exists() for file in expected.glob("*.nii.gz"))
    ):
        del seconds["predict"]
    return seconds


def write_table(
    what: str, steps: Sequence[str], names: Sequence[str], run: Callable[[str], Mapping[str, float]]
) -> int:
    """Run each of them, print its row of seconds by step, and in the end how many succeeded; return 1 if not all did.

    Args:
        what: they are, in the singular.
        run: returns the seconds of the steps that succeeded.
    """
    write = sys.stdout.write
    write(f"| {what} | {' | '.join(steps)} |\n|{' --- |' * (len(steps) + 1)}\n")
    failed = 0
    for name in names:
        seconds = run(name)
        failed += len(seconds) < len(steps)
        cells = [f"{seconds[step]:.0f} s" if step in seconds else "failed" for step in steps]
        write(f"| {name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
    write(f"{len(names) - failed} of {len(names)} {what}s ran through all four commands\n")
    return int(failed > 0)


def main(argv: list[str] | None = None) -> int:
    """Run the trainers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    every = [entry.name for entry in trainer_entries()]
    parser.add_argument("--trainers", nargs="+", choices=every, default=every, metavar="NAME")
    parser.add_argument("--configuration", default="3d_fullres")
    args = parser.parse_args(argv)
    folder = args.folder.resolve()
    prepare(folder, args.configuration)
    teachers_first = sorted(args.trainers, key=lambda name: name not in TEACHERS)
    return write_table(
        "trainer", STEPS, teachers_first, lambda trainer: run_trainer(folder, trainer, args.configuration)
    )


if __name__ == "__main__":
    sys.exit(main())
