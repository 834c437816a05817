"""``nnunet_missingmod evaluate``: models on every subset of modalities, scored, compared and reported."""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from typing import Any

from nnunet_missingmod.commands.options import (
    add_checkpoint,
    add_device,
    add_folds,
    add_input,
    add_model_options,
    add_option,
    add_output,
    add_parts,
    add_processes,
    add_window_options,
    cannot_start,
    check_folders,
    check_folds,
    check_processes,
    print_line,
)
from nnunet_missingmod.commands.values import filled, named_path, path
from nnunet_missingmod.errors import FailedError
from nnunet_missingmod.storage import check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``evaluate``; those that nnU-Net has too are called as there."""
    models = parser.add_argument_group("models (-m, or -d -c -tr)")
    models.add_argument("positional", nargs="*", metavar="[NAME=]FOLDER", type=named_path, help="as -m")
    add_model_options(
        models, several=True, help="model folders TRAINER__PLANS__CONFIGURATION, stock or not, or shared models"
    )
    add_folds(models)
    add_checkpoint(models)
    outside = parser.add_argument_group(
        "models that are not nnU-Net's",
        "beside others, or alone: modalities and labels are then those of -d, or of dataset.json beside the references",
    )
    several: dict[str, Any] = {"type": named_path, "nargs": "+", "action": "extend", "default": []}
    outside.add_argument(
        "--predictions",
        metavar="[NAME=]FOLDER",
        help="their predictions, as SUBSET/CASE.nii.gz or CASE/SUBSET.nii.gz, the subset as T1+T2, t2_t1, 1+3 or 0101",
        **several,
    )
    outside.add_argument(
        "--pattern",
        metavar="PATH",
        type=filled,
        help="where case and subset stand in other paths, as {case}_{subset} or */{case}/seg-{subset}",
    )
    outside.add_argument(
        "--scores",
        metavar="[NAME=]FILE",
        help="their scores alone: a CSV file with subject, modalities, WT_dice, WT_hd95 and so on",
        **several,
    )
    cases = parser.add_argument_group("cases (default: the validation cases of each fold, predicted by that fold)")
    add_input(cases, help="test images CASE_XXXX, predicted by all folds together")
    add_option(cases, "-ref", "--references", metavar="FOLDER", type=path, help="their references CASE")
    add_output(parser, help="output folder; continued if it is there", required=True)
    scores = parser.add_argument_group("scores")
    scores.add_argument(
        "--subsets",
        nargs="+",
        metavar="SUBSET",
        help="all (default up to 8 modalities), alone, leave-one-out, full, random:N, numbers of modalities, or names "
        "as T1+T2",
    )
    scores.add_argument(
        "--lesion-wise",
        action="store_true",
        help="count and match lesions too, each a connected component; needs panoptica (the extra [lesions])",
    )
    scores.add_argument("--tolerance", type=float, metavar="MM", help="of the surface Dice (default: 1 mm)")
    scores.add_argument(
        "--map-labels",
        nargs="+",
        metavar="VALUE=LABEL",
        help="values of the references, and of predictions of others, that stand for other labels, as 4=3 for BraTS up "
        "to 2021",
    )
    report = parser.add_argument_group("report")
    report.add_argument("--baseline", metavar="NAME", help="model that the others are compared with (default: first)")
    report.add_argument(
        "--convention",
        choices=("auto", "brats", "diagonal", "nnunet"),
        help="what empty masks score in the main tables (default: brats for its regions, else diagonal)",
    )
    report.add_argument(
        "--least-size",
        metavar="REGION=VOXELS",
        help="score a region also with predictions below so many voxels taken back, as ET=500",
    )
    report.add_argument(
        "--patients",
        metavar="PATTERN",
        type=filled,
        help="regular expression whose group is the patient, from the start of a case's name, as (.+)_[0-9]+; by "
        "default each case is a patient",
    )
    report.add_argument(
        "--prevalence",
        metavar="FILE",
        type=path,
        help="CSV file with subset, count (inspect --prevalence writes it): a mean weighted by how often each occurs",
    )
    report.add_argument(
        "--margin",
        type=float,
        metavar="POINTS",
        help="points of Dice by which complete cases may be worse than the baseline's; say them before you look: "
        "the report tells whether there were scores",
    )
    report.add_argument(
        "--report",
        action="store_true",
        help="join the parts in -o and make the report anew, from scores alone; with the options of this group",
    )
    shared = parser.add_argument_group("several machines or GPUs", "into one folder; --report joins the parts")
    add_parts(shared, default=False)
    add_processes(parser, help="processes for reading, writing and scoring", old=["--jobs"])
    add_device(parser)
    add_window_options(parser)


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    """Return what each argument is if only the output folder is given."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return vars(parser.parse_args([f"--output={args.output}"]))


def run(args: argparse.Namespace) -> int:
    """Evaluate; return 0 if all went well."""
    with cannot_start():
        check_processes(args.processes)
        check_folds(args.folds)
        check_folders(args.input, args.references)
        check_output(args.output)
    if args.report:
        from nnunet_missingmod.benchmarking.report import report
        from nnunet_missingmod.benchmarking.report_options import changed_options, check_report_arguments

        with cannot_start():
            check_report_arguments(args, _defaults(args))
        outcome = report(args.output, parts=args.num_parts, change=partial(changed_options, args))
    else:
        from nnunet_missingmod.benchmarking.request import request_of

        with cannot_start():
            request = request_of(args, command=shlex.join(["nnunet_missingmod", *sys.argv[1:]]))
        from nnunet_missingmod.benchmarking.evaluate import evaluate

        outcome = evaluate(request)
    for line in outcome.summary:
        print_line(line)
    if outcome.failures:
        raise FailedError("\n  ".join([f"{len(outcome.failures)} failed:", *outcome.failures]))
    return 0
