"""``nnunet_missingmod evaluate``: trained models on every subset of modalities, scored, compared and reported."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunet_missingmod.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``evaluate``; those that nnU-Net has too are called as there."""
    models = parser.add_argument_group("models (folders, or -d -c -tr)")
    models.add_argument(
        "models", nargs="*", metavar="[NAME=]FOLDER", help="model folders TRAINER__PLANS__CONFIGURATION, stock or not"
    )
    models.add_argument("-d", metavar="DATASET", help="dataset name or id")
    models.add_argument("-c", metavar="CONFIGURATION", help="configuration, for example 3d_fullres")
    models.add_argument("-tr", metavar="TRAINER", nargs="+", help="one or more trainers")
    models.add_argument("-p", metavar="PLANS", default="nnUNetPlans", help="plans (default: %(default)s)")
    models.add_argument("-f", metavar="FOLD", nargs="+", help="folds (default: all that are trained)")
    models.add_argument(
        "-chk", metavar="FILE", default="checkpoint_final.pth", help="checkpoint of each fold (default: %(default)s)"
    )
    cases = parser.add_argument_group("cases (default: the validation cases of each fold, predicted by that fold)")
    cases.add_argument("-i", metavar="FOLDER", type=Path, help="test images CASE_XXXX, predicted by all folds together")
    cases.add_argument("-ref", metavar="FOLDER", type=Path, help="their references CASE")
    parser.add_argument(
        "-o", metavar="FOLDER", type=Path, required=True, help="output folder; continued if it is there"
    )
    parser.add_argument(
        "--subsets",
        nargs="+",
        default=["all"],
        metavar="SUBSET",
        help="all (default), names as T1+T2, or numbers of modalities",
    )
    parser.add_argument("--baseline", metavar="NAME", help="model that the others are compared with (default: first)")
    parser.add_argument(
        "--convention", choices=("brats", "nnunet"), default="brats", help="what empty masks score in the main tables"
    )
    parser.add_argument(
        "--tolerance", type=float, default=1.0, metavar="MM", help="of the surface Dice (default: %(default)s mm)"
    )
    parser.add_argument(
        "--least-size",
        metavar="REGION=VOXELS",
        help="score a region also with predictions below so many voxels taken back, as ET=500",
    )
    parser.add_argument(
        "--patients",
        metavar="PATTERN",
        help="regular expression whose group is the patient, from the start of a case's name, as (.+)_[0-9]+; by "
        "default each case is a patient",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes for reading, writing and scoring")
    parser.add_argument(
        "-device", "--device", default="auto", help="auto (the GPU where there is one), cuda, cuda:1, mps, cpu"
    )
    parser.add_argument("-step_size", type=float, default=0.5, help="of the sliding window (default: %(default)s)")
    parser.add_argument("--disable_tta", action="store_true", help="do not average over mirrored images: faster")


def run(args: argparse.Namespace) -> int:
    """Evaluate; return 0 if all went well, 1 if some models or cases failed, 2 if the command could not start."""
    from nnunet_missingmod.benchmarking.evaluate import evaluate
    from nnunet_missingmod.benchmarking.request import UsageError, request_of

    try:
        outcome = evaluate(request_of(args, command=shlex.join(["nnunet_missingmod", *sys.argv[1:]])))
    except (UsageError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for line in outcome.summary:
        say(line)
    if outcome.failures:
        _say_failures(outcome.failures)
        return 1
    return 0


def _say_failures(failures: Sequence[str]) -> None:
    sys.stderr.write(f"{len(failures)} failed:\n")
    for failure in failures:
        sys.stderr.write(f"  {failure}\n")
