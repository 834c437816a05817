"""The command ``nnunet_missingmod phantom``: writes a synthetic dataset to try nnU-Net and this plugin on."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from nnunet_missingmod.demo.phantom import PhantomCase, generate_case
from nnunet_missingmod.demo.phantom_dataset import write_dataset

__all__ = ["PhantomCase", "add_arguments", "generate_case", "run", "write_dataset"]

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--output", type=Path, help="folder of raw datasets (default: the variable nnUNet_raw)")
    parser.add_argument("--dataset-id", type=int, default=501, metavar="N", help="number (default: %(default)s)")
    parser.add_argument("--name", default="Phantom", help="name after the number (default: %(default)s)")
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
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument(
        "--regions", action="store_true", help="declare whole tumor, tumor core and enhancing tumor as nnU-Net regions"
    )
    parser.add_argument("--overwrite", action="store_true", help="delete phantoms that were made with other parameters")


def run(args: argparse.Namespace) -> int:
    """Write the dataset; return 0 if all went well, 1 if writing failed, 2 if the options are refused."""
    output = args.output or os.environ.get("nnUNet_raw")  # noqa: SIM112  nnU-Net spells it so
    if not output:
        logger.error("There is no place to write to: set the variable nnUNet_raw, or give --output FOLDER.")
        return 2
    try:
        write_dataset(
            Path(output),
            dataset_id=args.dataset_id,
            name=args.name,
            cases=args.cases,
            test_cases=args.test_cases,
            size=args.size,
            spacing_mm=args.spacing,
            seed=args.seed,
            jobs=args.jobs,
            regions=args.regions,
            overwrite=args.overwrite,
        )
    except ValueError as error:
        logger.error("%s", error)
        return 2
    except OSError as error:
        logger.error("The dataset could not be written: %s. Call again to complete it.", error)
        return 1
    return 0
