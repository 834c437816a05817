"""``nnunet_missingmod predict``: segment a folder of cases, or one case given file by file."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_missingmod.console import say

if TYPE_CHECKING:
    from nnunet_missingmod.cases.files import CaseFiles
    from nnunet_missingmod.inference.predictor import Predictor


class UsageError(ValueError):
    """The command cannot start as it was called; the message says what to change."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``predict``; those that nnU-Net has too are called as there."""
    given = parser.add_argument_group("cases (one of the two)")
    given.add_argument("-i", metavar="FOLDER", type=Path, help="folder of files CASE_XXXX.nii.gz (the model's ending)")
    given.add_argument(
        "--image",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="one modality of one case, by its channel name; repeat for each that is there",
    )
    given.add_argument("--case", help="with --image: the case's name (default: what the file names have in common)")
    parser.add_argument("-o", metavar="FOLDER", type=Path, required=True, help="output folder, made if need be")
    model = parser.add_argument_group("model (-m, or -d -c -tr)")
    model.add_argument("-m", metavar="FOLDER", type=Path, help="model folder TRAINER__PLANS__CONFIGURATION")
    model.add_argument("-d", metavar="DATASET", help="dataset name or id")
    model.add_argument("-c", metavar="CONFIGURATION", help="configuration, for example 3d_fullres")
    model.add_argument("-tr", metavar="TRAINER", help="trainer, for example nnUNetTrainerModalityDropout")
    model.add_argument("-p", metavar="PLANS", default="nnUNetPlans", help="plans (default: %(default)s)")
    model.add_argument("-f", metavar="FOLD", nargs="+", help="folds to average (default: all that are trained)")
    model.add_argument(
        "-chk", metavar="FILE", default="checkpoint_final.pth", help="checkpoint of each fold (default: %(default)s)"
    )
    parser.add_argument("-device", default="auto", help="auto (the GPU where there is one), cuda, cuda:1, mps, cpu")
    parser.add_argument("-step_size", type=float, default=0.5, help="of the sliding window (default: %(default)s)")
    parser.add_argument("--disable_tta", action="store_true", help="do not average over mirrored images: faster")
    parser.add_argument("-prev_stage_predictions", metavar="FOLDER", type=Path, help="in a cascade: the first stage's")
    parser.add_argument("--save_probabilities", action="store_true", help="write them too, as nnU-Net does")
    parser.add_argument("--continue_prediction", action="store_true", help="keep what was made from the same files")
    parser.add_argument("-np", type=int, default=1, help="processes that check the files (default: %(default)s)")
    parser.add_argument("-num_parts", type=int, default=1, help="number of processes that share the cases")
    parser.add_argument("-part_id", type=int, default=0, help="which of them this is, from 0")
    files = parser.add_argument_group("files (default: as the model was trained)")
    files.add_argument("--nonfinite", choices=("refuse", "zero"), help="what NaN and infinite voxels do")
    files.add_argument(
        "--geometry-tolerance", type=float, metavar="VOXELS", help="how far apart the grids of modalities may lie"
    )
    files.add_argument(
        "--blank-is-present", action="store_true", help="a file of one value is an image, not an absent modality"
    )


def run(args: argparse.Namespace) -> int:
    """Predict; return 0 if all cases are predicted, 1 if some are not, 2 if the command could not start."""
    from nnunet_missingmod.inference.batch import predict_cases

    try:
        _check_arguments(args)
        predictor = _load(args)
        cases = _collect(args, predictor)
        _prepare_output(args.o, predictor)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    say(
        f"{len(cases)} case{'s' * (len(cases) != 1)}, {predictor.model.trainer} on {', '.join(predictor.modalities)}, "
        f"fold {'+'.join(map(str, predictor.model.folds))}, on {predictor.device}."
    )
    tally = predict_cases(
        predictor,
        cases,
        args.o,
        probabilities=args.save_probabilities,
        resume=args.continue_prediction,
        processes=args.np,
    )
    counted = ", ".join(f"{number} {status}" for status, number in sorted(tally.items()))
    say(f"{counted}. Rows: {args.o / 'predictions.jsonl'}")
    return 1 if tally["refused"] or tally["failed"] else 0


def _check_arguments(args: argparse.Namespace) -> None:
    if (args.i is None) == (not args.image):
        raise UsageError("Give the cases as a folder (-i), or one case as --image NAME=FILE for each modality.")
    if args.case is not None and not args.image:
        raise UsageError("--case names the one case of --image; a folder's cases are named by their files.")
    if args.m is None:
        missing = [option for option in ("d", "c", "tr") if getattr(args, option) is None]
        if missing:
            raise UsageError(f"Give a model folder (-m), or -{' and -'.join(missing)} too.")
    elif args.d is not None or args.c is not None or args.tr is not None:
        raise UsageError("Give a model folder (-m) or its dataset, configuration and trainer (-d -c -tr), not both.")
    if not 0 < args.step_size <= 1:
        raise UsageError(f"-step_size is above 0 and at most 1, got {args.step_size}.")
    if args.np < 1:
        raise UsageError(f"-np is 1 or more, got {args.np}.")
    if not 0 <= args.part_id < args.num_parts:
        raise UsageError(f"-part_id goes from 0 to -num_parts - 1 = {args.num_parts - 1}, got {args.part_id}.")
    if args.i is not None and not args.i.is_dir():
        raise UsageError(f"There is no folder {args.i}.")
    if args.i is not None and args.i.resolve() == args.o.resolve():
        raise UsageError(f"-o must be another folder than -i: predictions in {args.i} would be taken for images.")
    if args.prev_stage_predictions is not None and not args.prev_stage_predictions.is_dir():
        raise UsageError(f"There is no folder {args.prev_stage_predictions}.")


def _load(args: argparse.Namespace) -> Predictor:
    from nnunet_missingmod.inference.model_files import find_model_folder
    from nnunet_missingmod.inference.predictor import Predictor

    folder = args.m if args.m is not None else find_model_folder(args.d, args.c, args.tr, args.p)
    overrides: dict[str, Any] = {
        "nonfinite": args.nonfinite,
        "geometry_tolerance_voxels": args.geometry_tolerance,
        "blank_is_absent": False if args.blank_is_present else None,
    }
    return Predictor.from_model_folder(
        folder,
        folds=[int(fold) if fold.isdecimal() else fold for fold in args.f] if args.f else None,
        checkpoint=args.chk,
        device=args.device,
        tile_step_size=args.step_size,
        mirroring=not args.disable_tta,
        overrides={name: value for name, value in overrides.items() if value is not None},
    )


def _collect(args: argparse.Namespace, predictor: Predictor) -> list[CaseFiles]:
    """The cases of this process.

    Raises:
        UsageError: there is none, or previous stage and model do not go together.
    """
    from nnunet_missingmod.cases.files import CaseFiles, describe_channels, find_cases
    from nnunet_missingmod.inference.predictor import assign_names, common_name

    names, ending = predictor.modalities, predictor.model.file_ending
    if args.image:
        pairs = [pair.partition("=") for pair in args.image]
        wrong = [name for name, separator, file in pairs if not (name and separator and file)]
        twice = {name for name, _, _ in pairs if [other for other, _, _ in pairs].count(name) > 1}
        if wrong or twice:
            raise UsageError(f"--image takes NAME=FILE, once per name; look at: {', '.join(wrong or sorted(twice))}.")
        files = assign_names({name: file for name, _, file in pairs}, names)
        name = args.case or common_name(list(files.values()))
        if Path(name).name != name or name.startswith("."):
            raise UsageError(f"--case is a file name without folder or leading dot, got {name!r}.")
        cases = [CaseFiles(name, files)]
        if (args.o / f"{cases[0].case}{ending}").resolve() in {file.resolve() for file in files.values()}:
            raise UsageError(
                f"The prediction would overwrite an image: choose another -o or --case than {cases[0].case}."
            )
    else:
        try:
            cases = find_cases(args.i, names, ending)
        except OSError as error:
            raise UsageError(f"Cannot read the folder {args.i}: {error}.") from error
    if not cases:
        raise UsageError(
            f"There is no case in {args.i}. Expected per case one or more of: {describe_channels(names, ending)}."
        )
    stage = predictor.model.configuration_manager.previous_stage_name
    if (stage is None) != (args.prev_stage_predictions is None):
        raise UsageError(
            f"{predictor.model.configuration} "
            + (
                f"needs the predictions of {stage}: -prev_stage_predictions FOLDER."
                if stage
                else "has no previous stage."
            )
        )
    if stage is not None:
        cases = [replace(case, previous_stage=args.prev_stage_predictions / f"{case.case}{ending}") for case in cases]
    return cases[args.part_id :: args.num_parts]


def _prepare_output(folder: Path, predictor: Predictor) -> None:
    """Make the output folder, with the plans and dataset.json that nnU-Net's other commands expect in it.

    Raises:
        UsageError: it cannot be written to.
    """
    import json

    from nnunet_missingmod.storage import write_text

    try:
        for name, content in (("dataset.json", predictor.model.dataset_json), ("plans.json", predictor.model.plans)):
            write_text(folder / name, json.dumps(content, indent=4))
    except OSError as error:
        raise UsageError(
            f"Cannot write into {folder}: {error}. Choose another -o, or mend the access rights."
        ) from error
