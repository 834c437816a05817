"""``nnunet_missingmod evaluate``: trained models on every subset of modalities, scored, compared and reported."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from nnunet_missingmod.commands.options import (
    add_checkpoint,
    add_device,
    add_folds,
    add_input,
    add_model_options,
    add_option,
    add_output,
    add_processes,
    add_window_options,
    cannot_start,
    print_line,
)
from nnunet_missingmod.errors import FailedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``evaluate``; those that nnU-Net has too are called as there."""
    models = parser.add_argument_group("models (-m, or -d -c -tr)")
    models.add_argument("positional", nargs="*", metavar="[NAME=]FOLDER", help="as -m")
    add_model_options(models, several=True, help="model folders TRAINER__PLANS__CONFIGURATION, stock or not")
    add_folds(models)
    add_checkpoint(models)
    cases = parser.add_argument_group("cases (default: the validation cases of each fold, predicted by that fold)")
    add_input(cases, help="test images CASE_XXXX, predicted by all folds together")
    add_option(cases, "-ref", "--references", metavar="FOLDER", type=Path, help="their references CASE")
    add_output(parser, help="output folder; continued if it is there", required=True)
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
    add_processes(parser, help="processes for reading, writing and scoring", old=["--jobs"])
    add_device(parser)
    add_window_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate; return 0 if all went well."""
    from nnunet_missingmod.benchmarking.evaluate import evaluate
    from nnunet_missingmod.benchmarking.request import request_of

    with cannot_start():
        request = request_of(args, command=shlex.join(["nnunet_missingmod", *sys.argv[1:]]))
    outcome = evaluate(request)
    for line in outcome.summary:
        print_line(line)
    if outcome.failures:
        raise FailedError("\n  ".join([f"{len(outcome.failures)} failed:", *outcome.failures]))
    return 0
