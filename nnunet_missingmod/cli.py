"""The ``nnunet_missingmod`` command: finds the command's module by name and imports nothing else."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from nnunet_missingmod import __version__

# command: (module, prefix of its two functions, one line for --help)
COMMANDS = {
    "attach": ("host", "attach", "make nnU-Net find this package's trainers (once per environment)"),
    "detach": ("host", "detach", "undo attach"),
    "doctor": ("commands.doctor", "", "say what is wrong with the installation and how to mend it"),
    "trainers": ("commands.trainers", "", "list what may follow -tr, with one line each"),
    "inspect": (
        "commands.inspect",
        "",
        "say which case of a dataset has which modalities, and what is wrong with files",
    ),
    "predict": ("commands.predict", "", "segment cases, whatever modalities they have; one bad case stops no other"),
    "evaluate": (
        "commands.evaluate",
        "",
        "score models on every subset of modalities: tables, figures, report, model card",
    ),
    "advise": ("commands.advise", "", "say which further modality would gain most, from a model's measured accuracy"),
    "phantom": ("commands.phantom", "", "write a synthetic BraTS-like nnU-Net raw dataset"),
    "convert-brats": ("datasets.brats", "", "convert a BraTS folder (2018-2021, 2023+) into an nnU-Net raw dataset"),
    "demo": ("demo.run", "", "phantom, training, prediction, table and figures, in one folder"),
}


def _usage() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {line}" for name, (_, _, line) in COMMANDS.items())
    return (
        "usage: nnunet_missingmod [-h] [--version] COMMAND ...\n\n"
        "nnU-Net v2 for cases with missing modalities.\n\n"
        f"commands (each takes --help):\n{listed}\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 if all is well, 1 if something failed, 2 for wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        (sys.stdout if arguments else sys.stderr).write(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"nnunet_missingmod {__version__}\n")
        return 0
    if arguments[0] not in COMMANDS:
        sys.stderr.write(f"nnunet_missingmod: unknown command {arguments[0]!r}\n\n{_usage()}")
        return 2
    module_name, prefix, line = COMMANDS[arguments[0]]
    module = import_module(f"nnunet_missingmod.{module_name}")
    named = f"_{prefix}" if prefix else ""
    parser = argparse.ArgumentParser(prog=f"nnunet_missingmod {arguments[0]}", description=line)
    getattr(module, f"add{named}_arguments")(parser)
    try:
        parsed = parser.parse_args(arguments[1:])
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        code: int = getattr(module, f"run{named}")(parsed)
    except BrokenPipeError:  # who read our output is gone, as after `| head`; Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
