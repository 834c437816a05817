"""``nnunet_missingmod phantom``: writes a synthetic dataset to try nnU-Net and this plugin on."""

from __future__ import annotations

import argparse
from concurrent.futures import BrokenExecutor

from nnunet_missingmod.commands.options import (
    add_dataset,
    add_output,
    add_processes,
    cannot_start,
    check_processes,
    raw_folder,
)
from nnunet_missingmod.commands.values import filled
from nnunet_missingmod.errors import FailedError, UsageError
from nnunet_missingmod.storage import check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``phantom``."""
    add_output(parser, help="folder of raw datasets (default: the variable nnUNet_raw)")
    add_dataset(parser, number=True, default=501, help="id of the dataset (default: 501)")
    parser.add_argument("--name", type=filled, default="Phantom", help="name after the number (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=48, metavar="N", help="training cases (default: %(default)s)")
    parser.add_argument("--test-cases", type=int, default=16, metavar="N", help="test cases (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=3, metavar=("X", "Y", "Z"),
        help="voxels of the box that holds the brain (default: 64 72 64, or what the brain needs at --spacing)",
    )  # fmt: skip
    parser.add_argument(
        "--spacing", type=float, nargs="+", metavar="MM",
        help="voxel size in mm, one number or three (default: the finest at which the brain fits in --size)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="whole number (default: %(default)s)")
    add_processes(parser, old=["--jobs"])
    parser.add_argument(
        "--regions", action="store_true", help="declare whole tumor, tumor core and enhancing tumor as nnU-Net regions"
    )
    parser.add_argument("--overwrite", action="store_true", help="delete phantoms that were made with other parameters")


def run(args: argparse.Namespace) -> int:
    """Write the dataset."""
    with cannot_start():
        check_processes(args.processes)
        output = raw_folder(args)
        check_output(output)
    from nnunet_missingmod.demo.phantom_dataset import write_dataset

    try:
        write_dataset(
            output,
            dataset_id=args.dataset,
            name=args.name,
            cases=args.cases,
            test_cases=args.test_cases,
            size=args.size,
            spacing_mm=args.spacing,
            seed=args.seed,
            jobs=args.processes,
            regions=args.regions,
            overwrite=args.overwrite,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise FailedError(f"The dataset could not be written: {error}. Call again to complete it.") from error
    except (MemoryError, BrokenExecutor) as error:
        raise FailedError(
            "There was too little memory to draw a phantom. Give a smaller --size, a coarser --spacing or fewer "
            "processes (-np)."
        ) from error
    return 0
