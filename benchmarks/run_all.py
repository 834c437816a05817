"""Run the benchmarks of speed and memory that take a CPU no more than minutes, and append what they say to a document.

    python benchmarks/run_all.py [--minutes 25] [--output docs/performance.md]

Two CPU cores with nothing else running are meant. A script has its own minutes at most, and all together those of the
option: what remains then is not run, and said to be. Exit code 1 if a limit is exceeded or not everything ran to its
end; the sections say which.

What takes longer or answers a single question is run by itself: ``predict_time.py``, ``image_sizes.py``,
``slim_encoders.py``, ``mirrored_batches.py``, ``variants.py``, ``window_profile.py``, and ``gpu.py``, which measures a
GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import torch
from measuring import Budget, device_name, end_session, own_session

FOLDER = Path(__file__).parent


class Script(NamedTuple):
    """A script's name, its most minutes, and its arguments."""

    name: str
    minutes: float
    arguments: tuple[str, ...] = ()


class Ending(Enum):
    """How a script ended, in the words of its section."""

    KEPT = "limits kept"
    FAILED = "a limit is exceeded, or it failed"
    STOPPED = "then it was stopped: its time was over"
    NOT_RUN = "Not run: the time was over."


ON_CPU = ("--device", "cpu")
SCRIPTS = (
    Script("step_time", 10, (*ON_CPU, "--pairs", "16")),
    Script("prediction_time", 12, (*ON_CPU, "--pairs", "4")),
    Script("all_subset_time", 8, (*ON_CPU, "--rounds", "2")),
    Script("memory", 2, ON_CPU),
    Script("step_memory", 5),
    Script("preprocessing_time", 3),
    Script("import_time", 2),
    Script("report_time", 3),
    Script("shared_work", 2),
    Script("family_costs", 5, ("--markdown",)),
)


def run(script: Script, budget: Budget) -> tuple[str, Ending]:
    """Return a section of the report, with what the script printed until its end, and how it ended."""
    command = [f"{script.name}.py", *script.arguments]
    heading = f"### `python benchmarks/{' '.join(command)}`\n\n"
    own = budget.at_most(script.minutes)
    if not own.seconds():
        return f"{heading}{Ending.NOT_RUN.value}\n", Ending.NOT_RUN
    began = time.monotonic()
    python = [sys.executable, "-u", str(FOLDER / command[0]), *script.arguments]
    with own_session(python, stdout=subprocess.PIPE) as process:
        try:
            said, _ = process.communicate(timeout=own.seconds())
            ending = Ending.KEPT if process.returncode == 0 else Ending.FAILED
        except subprocess.TimeoutExpired:
            end_session(process)
            said, _ = process.communicate()
            ending = Ending.STOPPED
    minutes = (time.monotonic() - began) / 60
    return f"{heading}{minutes:.1f} minutes, {ending.value}.\n\n{said.strip()}\n", ending


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--output", type=Path, default=FOLDER.parent / "docs" / "performance.md")
    arguments = parser.parse_args()
    budget, kept = Budget(arguments.minutes), True
    sections = [f"## Measured on {time.strftime('%Y-%m-%d')}: {device_name(torch.device('cpu'))}\n"]
    for script in SCRIPTS:
        section, ending = run(script, budget)
        print(section, flush=True)
        sections.append(section)
        kept &= ending is Ending.KEPT
    with arguments.output.open("a", encoding="utf-8") as report:
        report.write("\n" + "\n".join(sections))
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
