"""Time the report of many scores and its memory, as the command that users run: ``evaluate -o FOLDER --report``.

    python benchmarks/report_time.py [--cases 1000] [--models 3] [--modalities 4] [--profile]

The scores are made up: three regions, one of them empty in every tenth case, all subsets of the modalities. So is how
well predictions agree, those of the folds and those from one modality less, so that intervals of single cases are
calibrated and each model gets its card. There are no latents, costs and pictures of cases. Prints seconds of wall time
and of the processor, which differ where other work shares the machine, and the largest memory of the command's process,
imports included. Exit code 1 if the processor takes more than a minute, the process more than 1 GB, or the command
fails. It needs a Unix.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunet_missingmod.benchmarking.parts import Part, ReportOptions, Rows, Shared, write_part
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.evaluation.agreement import AgreementRow
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import all_subsets, subset_name

MODALITIES = ("FLAIR", "T1", "T1ce", "T2", "DWI", "SWI", "PD", "ADC")
REGIONS = ("WT", "TC", "ET")
MOST_SECONDS = 60.0
MOST_GIGABYTES = 1.0


def made_up_rows(cases: int, models: int, modalities: Sequence[str]) -> list[ScoreRow]:
    """Return rows of every model, case, subset and region; in every tenth case the last region is empty."""
    rng = np.random.default_rng(0)
    rows = []
    for model in range(models):
        for case in range(cases):
            level = rng.beta(8, 2)
            for subset in all_subsets(len(modalities)):
                for region in REGIONS:
                    is_empty = region == REGIONS[-1] and case % 10 == 0
                    predicted = 0 if rng.random() < (0.8 if is_empty else 0.02) else int(rng.integers(1000, 50000))
                    dice = float(np.clip(level + 0.03 * len(subset) + rng.normal(0, 0.03), 0, 1))
                    measured = (dice, float(rng.lognormal(1.5, 0.8)), dice)
                    if is_empty and not predicted:
                        measured = (np.nan, np.nan, np.nan)
                    elif is_empty or not predicted:
                        measured = (0.0, np.inf, 0.0)
                    name = subset_name(subset, modalities)
                    rows.append(
                        ScoreRow(
                            f"model {model}", "0", f"case_{case:05d}", name, len(subset), region, *measured, 1.0,
                            0 if is_empty else 20000, predicted, 373.13, 1.0,
                        )
                    )  # fmt: skip
    return rows


def made_up_agreement(rows: Sequence[ScoreRow]) -> list[AgreementRow]:
    """Return how well the folds agree on each prediction, and the predictions with those from one modality less."""
    rng = np.random.default_rng(1)
    return [
        AgreementRow(
            row.model, row.fold, row.case, row.subset, row.num_present, row.region, kind,
            float(np.clip(np.nan_to_num(row.dice) + rng.normal(0, 0.05), 0, 1)),
        )
        for row in rows
        for kind in ("folds", "subsets")
        if kind == "folds" or row.num_present > 1
    ]  # fmt: skip


def write_evaluation(folder: Path, cases: int, models: int, modalities: Sequence[str]) -> None:
    """Write what an evaluation leaves for its report, and the models' folders."""
    rows = made_up_rows(cases, models, modalities)
    folders = {f"model {model}": folder / "models" / str(model) for model in range(models)}
    for path in folders.values():
        path.mkdir(parents=True)
    task = Task(
        tuple(modalities), {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}, None, ".nii.gz", (0, 1, 2, 3), "NibabelIO"
    )
    names = tuple(dict.fromkeys(row.case for row in rows))
    shared = Shared(
        task=task,
        subsets=tuple(all_subsets(len(modalities))),
        models={model: str(path) for model, path in folders.items()},
        outside={},
        tolerance_mm=1.0,
        label_map={},
        settings={"tile_step_size": 0.5, "mirroring": True},
        cases=names,
    )
    part = Part(
        0,
        1,
        shared,
        ReportOptions(margin=1.0 if models > 1 else None),
        "made up",
        "test folder",
        {},
        names,
        weights={model: {"0": "made up"} for model in folders},
        folds_together={model: (5,) for model in folders},
        finished=True,
    )
    write_part(part, folder, Rows(rows, made_up_agreement(rows)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--modalities", type=int, choices=range(2, len(MODALITIES) + 1), default=4)
    parser.add_argument("--profile", action="store_true", help="print where the time went")
    arguments = parser.parse_args()
    modalities = MODALITIES[: arguments.modalities]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # In a process of its own: the memory that Linux tells of a command begins with that of the process it is
        # started from, which therefore has to stay small.
        maker = multiprocessing.get_context("spawn").Process(
            target=write_evaluation, args=(folder, arguments.cases, arguments.models, modalities)
        )
        maker.start()
        maker.join()
        profile = folder / "profile"
        profiled = ["-m", "cProfile", "-o", str(profile)] if arguments.profile else []
        command = [sys.executable, *profiled, "-m", "nnunet_missingmod.cli", "evaluate", "-o", str(folder), "--report"]
        wall = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall, processor = time.perf_counter() - wall, usage.ru_utime + usage.ru_stime
        if arguments.profile:
            pstats.Stats(str(profile)).sort_stats("cumtime").print_stats(45)
    gigabytes = usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    subsets = 2 ** len(modalities) - 1
    print(
        f"{arguments.models} models, {arguments.cases} cases, {subsets} subsets, 3 regions: {wall:.1f} s, "
        f"{processor:.1f} s of the processor, {gigabytes:.2f} GB "
        f"(limits {MOST_SECONDS:.0f} s of the processor, {MOST_GIGABYTES:g} GB)"
    )
    return int(process.returncode != 0 or processor > MOST_SECONDS or gigabytes > MOST_GIGABYTES)


if __name__ == "__main__":
    sys.exit(main())
