"""Time the report of many scores, and its memory: from scores.csv on disk to the page.

    python benchmarks/report_time.py [--cases 1000] [--models 3] [--modalities 4] [--profile]

The rows are made up: three regions, one of them empty in every tenth case, all subsets of the modalities. Prints
seconds of wall time and of the processor, which differ where other work shares the machine, and the largest memory of
the process. Exit code 1 if the processor takes more than a minute or the process more than 1 GB.
"""

from __future__ import annotations

import argparse
import cProfile
import platform
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores, write_scores
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--modalities", type=int, choices=range(2, len(MODALITIES) + 1), default=4)
    parser.add_argument("--profile", action="store_true", help="print where the time went")
    arguments = parser.parse_args()
    modalities = MODALITIES[: arguments.modalities]
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder) / "scores.csv"
        rows = made_up_rows(arguments.cases, arguments.models, modalities)
        write_scores(rows, scores)
        del rows
        profile = cProfile.Profile()
        if arguments.profile:
            profile.enable()
        wall, processor = time.perf_counter(), time.process_time()
        pairs = [(f"model {model}", "model 0") for model in range(1, arguments.models)]
        write_report(read_scores(scores), Path(folder) / "report", modalities=modalities, pairs=pairs)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        profile.disable()
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    subsets = 2 ** len(modalities) - 1
    print(
        f"{arguments.models} models, {arguments.cases} cases, {subsets} subsets, 3 regions: {wall:.1f} s, "
        f"{processor:.1f} s of the processor, {gigabytes:.2f} GB "
        f"(limits {MOST_SECONDS:.0f} s of the processor, {MOST_GIGABYTES:g} GB)"
    )
    if arguments.profile:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(45)
    return int(processor > MOST_SECONDS or gigabytes > MOST_GIGABYTES)


if __name__ == "__main__":
    sys.exit(main())
