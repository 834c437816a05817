"""``nnunet_missingmod demo``: from nothing to a table over all subsets of modalities, in one folder."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import fields
from pathlib import Path

from nnunet_missingmod import host
from nnunet_missingmod.commands.options import (
    add_device,
    add_output,
    add_processes,
    cannot_start,
    check_processes,
    print_line,
)
from nnunet_missingmod.demo.settings import DemoFolder, DemoSettings
from nnunet_missingmod.errors import FailedError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``demo``."""
    defaults = {field.name: field.default for field in fields(DemoSettings)}
    add_output(parser, help="folder of all results (default: %(default)s)", default=Path("nnunet_missingmod_demo"))
    add_device(parser, default="cpu")
    add_processes(parser, default=2, help="processes for phantoms and scores")
    described = {
        "cases": "training cases",
        "test_cases": "test cases",
        "size": "voxels of the brain's box",
        "width": "features of the U-Net's first stage",
        "batch_size": "slices per training step",
        "epochs": "epochs of each training",
        "iterations": "training steps per epoch",
        "seed": "seed of the phantoms",
    }
    for name, what in described.items():
        value = defaults[name]
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            nargs=3 if name == "size" else None,
            default=value,
            metavar="N",
            help=f"{what} (default: {shown})",
        )


def run(args: argparse.Namespace) -> int:
    """Run the demo, or what is left of it.

    Raises:
        UsageError: a number is out of its range, the folder holds something else or cannot be written to, or nnU-Net
            does not find this package.
        FailedError: a command failed, or the evaluation did.
    """
    chosen = {field.name: getattr(args, field.name) for field in fields(DemoSettings)}
    settings = DemoSettings(**{**chosen, "size": tuple(args.size)})
    with cannot_start():
        check_processes(args.processes)
        settings.check()
    from nnunet_missingmod.demo.run import run_demo

    try:
        run_demo(
            DemoFolder(args.output.resolve()),
            settings,
            device=args.device,
            jobs=args.processes,
            command=shlex.join(["nnunet_missingmod", *sys.argv[1:]]),
            report=print_line,
        )
    except host.HostError as error:
        raise UsageError(str(error)) from error
    except UsageError:
        raise
    except ValueError as error:
        raise FailedError(str(error)) from error
    return 0
