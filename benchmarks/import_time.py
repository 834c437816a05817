"""Time how long commands that answer at once take to answer, as whole processes, against an empty Python.

    python benchmarks/import_time.py [--pairs 15]

Every command's ``--help``, commands that only list what there is, and the package's import, each in turn with
``python -c pass``. Prints the seconds of the median run and ratios to the empty Python, as median and quartiles over
pairs. Exit code 1 if one takes more than 0.3 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

import torch
from measuring import compare, device_name, synchronised

from nnunet_missingmod.commands.table import COMMANDS

CPU = torch.device("cpu")
MOST_SECONDS = 0.3
IMPORT = "import nnunet_missingmod"
COMMAND = ("-m", "nnunet_missingmod.cli")
LISTING = ("trainers", "info")
# {row of the table: arguments of Python}
ANSWERING = {
    IMPORT: ("-c", IMPORT),
    "--help": (*COMMAND, "--help"),
    **{name: (*COMMAND, name) for name in LISTING},
    **{f"{name} --help": (*COMMAND, name, "--help") for name in COMMANDS},
}


def process(*arguments: str) -> Callable[[], float]:
    """Return a function that runs Python with these arguments and returns its seconds."""
    command = [sys.executable, *arguments]
    return synchronised(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), CPU)


def measure(*, pairs: int) -> tuple[list[str], bool]:
    """Return the lines of the table, and whether the limit is kept in each row."""
    arms = {name: process(*arguments) for name, arguments in ANSWERING.items()}
    ratios = compare(process("-c", "pass"), arms, pairs=pairs)
    empty = next(iter(ratios.values())).reference
    seconds = {name: ratio.median * empty for name, ratio in ratios.items()}
    return [
        f"{pairs} pairs, `python -c pass` {empty:.3f} s; limit of each {MOST_SECONDS} s.",
        "",
        "| nnunet_missingmod | seconds | ratio to `python -c pass` | quartiles |",
        "| --- | --: | --: | --: |",
        *(f"| `{name}` | {seconds[name]:.3f} | {ratio.cells()} |" for name, ratio in ratios.items()),
    ], all(taken <= MOST_SECONDS for taken in seconds.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()
    print(device_name(CPU), flush=True)
    lines, kept = measure(pairs=arguments.pairs)
    print("\n".join(lines))
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
