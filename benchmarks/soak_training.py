"""Kill a training at random moments and continue it, again and again: does it always end as if it had not been killed?

    python benchmarks/soak_training.py [--kills 20] [--trainings 4] [--seed 0] [--output soak_training.md]

Trains tiny phantom models with ``nnUNetv2_train``, whose processes get SIGKILL at random moments: while they start, in
the middle of an epoch, while they save, or in the final validation; then ``nnUNetv2_train --c``. After every kill each
file with a checkpoint's final name must be whole, and the model folder's JSON files too; after the last, the training
must have every epoch once, in the checkpoint and in its log of losses, and nnU-Net's own predictor must load the model.
Exit code 1 if any of that fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from nnunet_missingmod.demo.host_commands import program
from nnunet_missingmod.host import VARIABLE, external_value

DATASET = "Dataset501_Phantom"
TRAINERS = ("nnUNetTrainerModalityDropout", "nnUNetTrainerRDL")
# How often a kill is meant to fall there, and up to how many seconds after it has begun.
KILLS = {"start": (0.2, 12.0), "epochs": (0.5, 4.0), "saving": (0.3, 4.0)}
POLL_S = 0.02


class SoakError(RuntimeError):
    """Something was not as it should be after a kill."""


def prepare(root: Path, epochs: int) -> None:
    """Make phantoms, plan and preprocess them, and set the size and length of the trainings."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / variable).mkdir()
        os.environ[variable] = str(root / variable)
    os.environ |= dict.fromkeys(("nnUNet_n_proc_DA", "nnUNet_def_n_proc", "OMP_NUM_THREADS"), "1")
    for command in (
        ("nnunet_missingmod", "phantom", "--cases", "6", "--test-cases", "0", "--size", "28", "28", "28"),
        ("nnUNetv2_plan_and_preprocess", "-d", "501", "-c", "3d_fullres", "-np", "1", "-npfp", "1"),
    ):
        subprocess.run([program(command[0]), *command[1:]], check=True, capture_output=True)
    os.environ[VARIABLE] = external_value()
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112
    file = root / "nnUNet_preprocessed" / DATASET / "nnUNetPlans.json"
    plans = json.loads(file.read_text(encoding="utf-8"))
    chosen = plans["configurations"]["3d_fullres"]
    arguments = chosen["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [4, *[8] * (arguments["n_stages"] - 1)]
    chosen["batch_size"] = 2
    chosen["missingmod"] = {
        "num_epochs": epochs,
        "num_iterations_per_epoch": 1,
        "num_val_iterations_per_epoch": 1,
        "save_every": 1,
    }
    file.write_text(json.dumps(plans), encoding="utf-8")


def train(trainer: str, fold: Path, log: Path, *, resume: bool, where: str | None, after: float) -> str:
    """Start a training; kill it, or wait until it ends. Return what it was doing when killed, or ``""`` if it ended.

    Args:
        where: a key of ``KILLS``: the kill comes ``after`` seconds counted from the start, or from the first epoch, or
            when the next file is being saved after that. None to let the training end.
    """
    argv = [program("nnUNetv2_train"), "501", "3d_fullres", "0", "-tr", trainer, "-device", "cpu"]
    leftovers = temporaries(fold)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, *(["--c"] if resume else [])],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        counted_from = time.monotonic() if where == "start" else None
        while process.poll() is None:
            if counted_from is None and where is not None and b"Current learning rate" in log.read_bytes():
                counted_from = time.monotonic()
            due = counted_from is not None and time.monotonic() - counted_from >= after
            if due and (where != "saving" or temporaries(fold) - leftovers):
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
                process.wait()
                return "saving" if temporaries(fold) - leftovers else doing(log)
            if not (due and where == "saving"):  # a file is being saved for some milliseconds only
                time.sleep(POLL_S)
    if process.returncode:
        raise SoakError(f"nnUNetv2_train failed:\n{log.read_text(errors='replace')[-2000:]}")
    return ""


def temporaries(fold: Path) -> set[str]:
    """Return the names of checkpoints that are being saved, or whose saving was cut off."""
    return {file.name for file in fold.glob(".*checkpoint_*.pth")}


def doing(log: Path) -> str:
    """Return what a killed training was at, from its log."""
    said = log.read_text(encoding="utf-8", errors="replace")
    if "Training done" in said:
        return "final validation"
    if "Current learning rate" not in said:
        return "start"
    after_epoch = said.rpartition("Epoch time")[2]
    return "epoch" if "Current learning rate" in after_epoch else "between epochs"


def check(fold: Path) -> None:
    """Check what a kill has left.

    Raises:
        SoakError: a file with a final name is not whole.
    """
    from nnunet_missingmod.training.checkpoints import CheckpointError, read_checkpoint

    for file in fold.glob("checkpoint_*.pth"):
        try:
            read_checkpoint(file)
        except CheckpointError as error:
            raise SoakError(str(error)) from error
    for file in fold.parent.glob("*.json"):
        json.loads(file.read_text(encoding="utf-8"))


def check_end(fold: Path, epochs: int) -> None:
    """Check a finished training.

    Raises:
        SoakError: it has not each epoch once, leftovers lie about, or the model cannot be loaded.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from nnunet_missingmod.training.checkpoints import read_checkpoint

    check(fold)
    checkpoint = read_checkpoint(fold / "checkpoint_final.pth")
    logged = {name: len(values) for name, values in checkpoint["logging"].items()}
    if checkpoint["current_epoch"] != epochs or set(logged.values()) != {epochs}:
        raise SoakError(f"{fold} ended after {checkpoint['current_epoch']} epochs of {epochs}; logged: {logged}")
    leftovers = [file.name for file in fold.iterdir() if file.name.startswith(".")]
    leftovers += [file.name for file in fold.parent.iterdir() if file.name.startswith(".")]
    if leftovers or (fold / "checkpoint_latest.pth").exists():
        raise SoakError(f"{fold} holds leftovers: {leftovers or 'checkpoint_latest.pth'}")
    if not (fold / "validation" / "summary.json").exists():
        raise SoakError(f"{fold} was not validated")
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(fold.parent), (0,), "checkpoint_final.pth")


def soak(root: Path, trainer: str, *, number: int, kills: int, epochs: int, rng: random.Random) -> Counter[str]:
    """Kill one training ``kills`` times, let it end, and return what it was doing each time."""
    fold = root / "nnUNet_results" / DATASET / f"{trainer}__nnUNetPlans__3d_fullres" / "fold_0"
    moments: Counter[str] = Counter()
    attempt = 0
    while sum(moments.values()) < kills:
        (where,) = rng.choices(list(KILLS), [share for share, _ in KILLS.values()])
        after = rng.uniform(0, KILLS[where][1])
        log = root / f"training_{number}_{attempt}.txt"
        moment = train(trainer, fold, log, resume=attempt > 0, where=where, after=after)
        attempt += 1
        if not moment:
            break
        moments[moment] += 1
        check(fold)
        print(f"training {number}, kill {sum(moments.values())}: {moment}", flush=True)
    if sum(moments.values()) < kills:
        raise SoakError(f"Training {number} ended after {sum(moments.values())} kills: give it more --epochs.")
    train(trainer, fold, root / f"training_{number}_last.txt", resume=True, where=None, after=0)
    check_end(fold, epochs)
    fold.parent.rename(root / f"finished_{number}")
    return moments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=4, help="over which the kills are shared out")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="Markdown file for the result")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        prepare(root, args.epochs)
        for number in range(args.trainings):
            kills = args.kills // args.trainings + (number < args.kills % args.trainings)
            trainer = TRAINERS[number % len(TRAINERS)]
            try:
                total += soak(root, trainer, number=number, kills=kills, epochs=args.epochs, rng=rng)
            except SoakError as error:
                print(f"FAILED: {error}", flush=True)
                return 1
    moments = ", ".join(f"{moment} {count}" for moment, count in total.most_common())
    result = (
        f"{args.trainings} trainings of {args.epochs} epochs were killed {sum(total.values())} times ({moments}). Each "
        f"ended with {args.epochs} epochs and a readable model; no file with a final name was ever torn."
    )
    print(result)
    if args.output:
        args.output.write_text(f"{result}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
