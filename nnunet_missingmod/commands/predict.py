"""``nnunet_missingmod predict``: segment a folder of cases, or one case given file by file."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_missingmod import plans_block
from nnunet_missingmod.choices import FILE_KEYS
from nnunet_missingmod.commands.options import (
    add_checkpoint,
    add_device,
    add_folds,
    add_input,
    add_model_options,
    add_option,
    add_output,
    add_parts,
    add_window_options,
    cannot_start,
    check_folders,
    check_folds,
    check_model_options,
    check_processes,
    model_folder,
    print_line,
)
from nnunet_missingmod.commands.values import filled, path
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.keys import Key
from nnunet_missingmod.modalities import split_escaped, unescape
from nnunet_missingmod.storage import (
    check_not_of_the_host,
    check_output,
    name_problem,
)

if TYPE_CHECKING:
    from nnunet_missingmod.cases.files import CaseFiles
    from nnunet_missingmod.inference.predictor import Predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``predict``; those that nnU-Net has too are called as there."""
    given = parser.add_argument_group("cases (one of the two)")
    add_input(given, help="folder of files CASE_XXXX.nii.gz (the model's ending)")
    given.add_argument(
        "--image",
        metavar="NAME=FILE",
        type=filled,
        action="append",
        default=[],
        help="one modality of one case, by its channel name (a = in it as \\=); repeat for each that is there",
    )
    given.add_argument(
        "--case",
        type=filled,
        help="with --image: the case's name (default: what the file names have in common, or their folder's name)",
    )
    add_output(parser, required=True)
    model = parser.add_argument_group("model (-m, or -d -c -tr)")
    add_model_options(model)
    add_folds(model, help="folds to average (default: all that are trained)")
    add_checkpoint(model)
    add_device(parser)
    add_window_options(parser)
    add_option(
        parser,
        "-prev_stage_predictions",
        "--prev-stage-predictions",
        metavar="FOLDER",
        type=path,
        help="in a cascade: the first stage's",
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also predict each case without each of its modalities in turn, and tell from how well that agrees which "
        "Dice to expect of this case: as many further predictions as a case has modalities. The model's card must be "
        "of an evaluation on 9 patients or more",
    )
    parser.add_argument("--save_probabilities", action="store_true", help="write them too, as nnU-Net does")
    parser.add_argument("--continue_prediction", action="store_true", help="keep what was made from the same files")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files of the same name, whatever they were made from"
    )
    for option, long, help in (
        ("-npp", "--preparing", "read and preprocessed"),
        ("-nps", "--exporting", "brought to their own grid and written"),
    ):
        shown = f"cases that are {help} at once, while another one is in the network (default: 2)"
        add_option(parser, option, long, type=int, default=2, metavar="N", help=shown)
    add_parts(parser)
    files = parser.add_argument_group("files (default: as the model was trained)")
    key = {each.name: each for each in FILE_KEYS}
    files.add_argument("--nonfinite", choices=key["nonfinite"].range.values, help=_help(key["nonfinite"]))
    tolerance = key["geometry_tolerance_voxels"]
    files.add_argument("--geometry-tolerance", type=float, metavar="VOXELS", help=_help(tolerance))
    for name in ("nifti_transform", "headers"):
        option = f"--{name.replace('_', '-')}"
        files.add_argument(option, choices=key[name].range.values, help=_help(key[name]))
    files.add_argument(
        "--blank-is-present", action="store_true", help="a file of one value is an image, not an absent modality"
    )


def _help(key: Key) -> str:
    """What the documents say of a key, without the marks of Markdown."""
    return key.meaning.replace("`", "").replace("%", "%%")


def run(args: argparse.Namespace) -> int:
    """Predict; return 0 if all cases are predicted, 1 if some are not."""
    with cannot_start():
        _check_arguments(args)
    from nnunet_missingmod.evaluation.agreement import FOLDS
    from nnunet_missingmod.inference.batch import predict_cases
    from nnunet_missingmod.inference.output_description import write_description

    with cannot_start():
        predictor = _load(args)
        _check_uncertainty(args, predictor)
        every_case = _collect(args, predictor)
        write_description(args.output, predictor.model, overwrite=args.overwrite)
    cases = every_case[args.part_id :: args.num_parts]
    if not cases:
        number = f"{'is' if len(every_case) == 1 else 'are'} {len(every_case)}"
        print_line(f"No case for this part: there {number}, in {args.num_parts} parts.")
        return 0
    if args.image and args.case is None:
        print_line(f"The case is called {cases[0].case}; --case NAME calls it otherwise.")
    print_line(
        f"{len(cases)} case{'s' * (len(cases) != 1)}, {predictor.model.taken_for} on "
        f"{', '.join(predictor.modalities)}, fold {'+'.join(map(str, predictor.model.folds))}, on {predictor.device}."
    )
    if predictor.uncertainty is not None and len(predictor.model.folds) > 1:
        reason = predictor.uncertainty.reasons.get(FOLDS)
        if reason is not None:
            print_line(f"No interval of single cases from the agreement of the folds: {reason}.")
    tally = predict_cases(
        predictor,
        cases,
        args.output,
        probabilities=args.save_probabilities,
        resume=args.continue_prediction,
        overwrite=args.overwrite,
        uncertainty=args.uncertainty,
        preparing=args.preparing,
        exporting=args.exporting,
        check_ahead=True,
        report=print_line,
    )
    counted = ", ".join(f"{number} {status}" for status, number in sorted(tally.items()))
    print_line(f"{counted}. Rows: {args.output / 'predictions.jsonl'}")
    return 1 if tally["refused"] or tally["failed"] else 0


def _check_arguments(args: argparse.Namespace) -> None:
    if (args.input is None) == (not args.image):
        raise UsageError("Give the cases as a folder (-i), or one case as --image NAME=FILE for each modality.")
    if args.case is not None and not args.image:
        raise UsageError("--case names the one case of --image; a folder's cases are named by their files.")
    plans_block.resolve(_overrides(args))
    check_model_options(args)
    check_processes(args.preparing, option="-npp")
    check_processes(args.exporting, option="-nps")
    check_folds(args.folds)
    _check_names(args)
    if args.num_parts < 1:
        raise UsageError(f"-num_parts is 1 or more, got {args.num_parts}.")
    if not 0 <= args.part_id < args.num_parts:
        raise UsageError(f"-part_id goes from 0 to -num_parts - 1 = {args.num_parts - 1}, got {args.part_id}.")
    check_folders(args.input, args.prev_stage_predictions)
    read = {"-i": args.input, "-prev_stage_predictions": args.prev_stage_predictions, "-m": args.model}
    for option, folder in read.items():
        if folder is not None and folder.resolve() == args.output.resolve():
            raise UsageError(f"-o must be another folder than {option}: the files in {folder} are read.")
    if args.input is not None and args.output.resolve().is_relative_to(args.input.resolve()):
        raise UsageError(f"-o {args.output} lies in {args.input} (-i), which is read: choose another -o.")
    if args.model is not None:
        args.model = model_folder(args)
    check_output(args.output)
    check_not_of_the_host(args.output)


def _check_names(args: argparse.Namespace) -> None:
    images = _named_images(args)
    wrong = [pair for pair, (name, file) in zip(args.image, images, strict=True) if not (name and file)]
    number = Counter(name for name, _ in images)
    twice = [name for name in number if number[name] > 1]
    if wrong or twice:
        raise UsageError(f"--image takes NAME=FILE, once per name; look at: {', '.join(wrong or twice)}.")
    if args.case is not None and (problem := name_problem(args.case)):
        raise UsageError(f"--case is the name of a file without folder or ending; {args.case!r} {problem}.")


def _named_images(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return name and file of each --image; what lacks an unescaped = has no file."""
    split = [split_escaped(pair, "=") for pair in args.image]
    return [(unescape(name), "=".join(file)) for name, *file in split]


def _load(args: argparse.Namespace) -> Predictor:
    from nnunet_missingmod.inference.predictor import Predictor

    folder, output = model_folder(args), args.output.resolve()
    folds = [fold.resolve() for fold in folder.glob("fold_*")]
    if output == folder.resolve() or any(output.is_relative_to(fold) for fold in folds):
        raise UsageError(
            f"-o {args.output} is the folder of the model {folder}, or of one of its folds: choose another."
        )
    return Predictor.from_model_folder(
        folder,
        folds=args.folds,
        checkpoint=args.checkpoint,
        device=args.device,
        tile_step_size=args.step_size,
        mirroring=not args.disable_tta,
        overrides=_overrides(args),
    )


def _check_uncertainty(args: argparse.Namespace, predictor: Predictor) -> None:
    """Check that the further predictions of --uncertainty would tell anything.

    Raises:
        UsageError: the model has no valid card, or it does not hold for these predictions.
    """
    from nnunet_missingmod.evaluation.agreement import SUBSETS

    if not args.uncertainty:
        return
    if predictor.uncertainty is None:
        raise UsageError(
            "--uncertainty needs the model's card: evaluate the model first (nnunet_missingmod evaluate), on 9 "
            "patients or more."
        )
    if SUBSETS not in predictor.uncertainty.usable:
        raise UsageError(f"--uncertainty would tell nothing: {predictor.uncertainty.reasons[SUBSETS]}.")


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    given = {
        "nonfinite": args.nonfinite,
        "geometry_tolerance_voxels": args.geometry_tolerance,
        "nifti_transform": args.nifti_transform,
        "headers": args.headers,
        "blank_is_absent": False if args.blank_is_present else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _collect(args: argparse.Namespace, predictor: Predictor) -> list[CaseFiles]:
    """The cases, of all parts.

    Raises:
        UsageError: there is none, or previous stage and model do not go together.
    """
    from nnunet_missingmod.cases.files import describe_channels, find_cases

    names, ending = predictor.modalities, predictor.model.file_ending
    if args.image:
        cases = [_case_of_images(args, predictor)]
    else:
        try:
            cases = find_cases(args.input, names, ending)
        except OSError as error:
            raise UsageError(f"Cannot read the folder {args.input}: {error}.") from error
    if not cases:
        folders = any(each.is_dir() for each in args.input.iterdir())
        raise UsageError(
            f"There is no case in {args.input}. Expected per case one or more of: {describe_channels(names, ending)}."
            + (" Folders in it are not looked into: predict each, or one case by --image." if folders else "")
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
    return cases


def _case_of_images(args: argparse.Namespace, predictor: Predictor) -> CaseFiles:
    """The one case of --image.

    Raises:
        UsageError: its prediction would take the place of an image, or of another case's prediction.
    """
    from nnunet_missingmod.cases.files import CaseFiles
    from nnunet_missingmod.inference.batch import replaced_files
    from nnunet_missingmod.inference.named_images import assign_names, common_name

    images = assign_names(dict(_named_images(args)), predictor.modalities)
    files = {channel: image for channel, image in images.items() if isinstance(image, Path)}  # all of them
    name = args.case or common_name(list(files.values()), predictor.modalities)
    if problem := name_problem(name):
        raise UsageError(f"The case would be called {name!r}, which {problem}: name it with --case.")
    ending = predictor.model.file_ending
    if name.endswith(ending):
        raise UsageError(f"The case would be called {name!r}: leave out the ending {ending} (--case).")
    target = args.output / f"{name}{ending}"
    if target.resolve() in {file.resolve() for file in files.values()}:
        raise UsageError(f"The prediction would overwrite an image: choose another -o or --case than {name}.")
    case = CaseFiles(name, files)
    others = replaced_files(case, target)
    if others is not None and not args.overwrite:
        raise UsageError(
            f"{target} is the prediction of {', '.join(others) or 'files that are not known'}: name this case with "
            "--case, choose another -o, or replace it with --overwrite."
        )
    return case
