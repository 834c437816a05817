"""``nnunet_missingmod convert-brats``: a BraTS folder of 2017-2021 or 2023+ becomes an nnU-Net raw dataset."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_missingmod.commands.options import (
    add_dataset,
    add_output,
    add_processes,
    cannot_start,
    check_folders,
    check_processes,
    print_line,
    raw_folder,
)
from nnunet_missingmod.commands.values import filled, path
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.modalities import subset_name
from nnunet_missingmod.storage import check_output, name_problem

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``convert-brats``."""
    parser.add_argument("folder", type=path, help="BraTS folder; cases may lie at any depth in it")
    add_dataset(parser, help="number of the nnU-Net dataset, 1 to 999", number=True, required=True)
    parser.add_argument(
        "--name", type=filled, default="BraTS", help="name of the nnU-Net dataset (default: %(default)s)"
    )
    add_output(parser, help="folder of raw datasets (default: $nnUNet_raw)")
    parser.add_argument(
        "--test", action="store_true", help="every case is a test case: imagesTs, and labelsTs if it is segmented"
    )
    parser.add_argument("--regions", action="store_true", help="declare the regions WT, TC, ET instead of three labels")
    parser.add_argument(
        "--keep-cavity", action="store_true", help="keep label 4 of the 2023+ naming as RC, the resection cavity (2024)"
    )
    add_processes(parser, default=4, help="cases converted at a time", old=["--jobs"])
    parser.add_argument("--overwrite", action="store_true", help="replace cases that the dataset has already")
    placing = parser.add_mutually_exclusive_group()
    placing.add_argument("--copy", action="store_true", help="copy images that are .nii.gz already (default)")
    placing.add_argument("--symlink", action="store_true", help="link to them instead, which saves disk")


def run(args: argparse.Namespace) -> int:
    """Convert a BraTS folder; return 0 if every case was converted, 1 if some were refused.

    Raises:
        UsageError: the arguments, the BraTS folder or the dataset do not allow a start; nothing was written.
        FailedError: the dataset cannot be written to.
    """
    with cannot_start():
        check_processes(args.processes)
        check_folders(args.folder)
        dataset = _dataset_folder(args)
    from nnunet_missingmod.datasets.brats import convert_folder
    from nnunet_missingmod.datasets.brats_case import Conversion
    from nnunet_missingmod.datasets.brats_naming import CHANNELS

    conversion = Conversion(dataset, test=args.test, symlink=args.symlink, keep_cavity=args.keep_cavity)
    converted = convert_folder(
        args.folder,
        conversion,
        name=args.name,
        regions=args.regions,
        overwrite=args.overwrite,
        jobs=args.processes,
    )
    _print_counts(converted.presence, CHANNELS)
    for name, reason in converted.refused.items():
        logger.error("%s is refused: %s", name, reason)
    number, num_refused = converted.num_cases, len(converted.refused)
    print_line(f"{number - num_refused} of {number} cases converted, {num_refused} refused: {dataset}")
    return 1 if converted.refused else 0


def _dataset_folder(args: argparse.Namespace) -> Path:
    raw = raw_folder(args)
    if not 1 <= args.dataset <= 999:
        raise UsageError(f"-d is a number from 1 to 999, got {args.dataset}.")
    if problem := name_problem(args.name):
        raise UsageError(f"--name is a part of the dataset folder's name, and {args.name!r} {problem}.")
    dataset = raw / f"Dataset{args.dataset:03d}_{args.name}"
    check_output(dataset)
    others = sorted(
        found.name
        for found in raw.glob(f"Dataset{args.dataset:03d}_*")
        if found.is_dir() and found.name != dataset.name
    )
    if others:
        raise UsageError(f"This number has been given in {raw} already, to {', '.join(others)}: choose another (-d).")
    return dataset


def _print_counts(presence: Mapping[tuple[str, str], Sequence[int]], names: Sequence[str]) -> None:
    if not presence:
        return
    counts = Counter((split, tuple(channels)) for (split, _), channels in presence.items())
    print_line(f"{'cases':>6}  {'split':5}  modalities")
    for (split, channels), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        print_line(f"{count:6}  {split:5}  {subset_name(channels, names)}")
