"""``nnunet_missingmod predict``: segment a folder of cases, or one case given file by file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_missingmod.choices import FILE_KEYS
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
    check_model_options,
    check_processes,
    model_folder,
    print_line,
)
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.keys import Key

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
        action="append",
        default=[],
        help="one modality of one case, by its channel name; repeat for each that is there",
    )
    given.add_argument("--case", help="with --image: the case's name (default: what the file names have in common)")
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
        type=Path,
        help="in a cascade: the first stage's",
    )
    parser.add_argument("--save_probabilities", action="store_true", help="write them too, as nnU-Net does")
    parser.add_argument("--continue_prediction", action="store_true", help="keep what was made from the same files")
    add_processes(parser, help="processes that check the files")
    add_option(
        parser,
        "-num_parts",
        "--num-parts",
        metavar="N",
        type=int,
        default=1,
        help="number of calls that share the cases (default: %(default)s)",
    )
    add_option(
        parser,
        "-part_id",
        "--part-id",
        metavar="N",
        type=int,
        default=0,
        help="which of them this is, from 0 (default: %(default)s)",
    )
    files = parser.add_argument_group("files (default: as the model was trained)")
    key = {each.name: each for each in FILE_KEYS}
    files.add_argument("--nonfinite", choices=key["nonfinite"].range.values, help=_help(key["nonfinite"]))
    tolerance = key["geometry_tolerance_voxels"]
    files.add_argument("--geometry-tolerance", type=float, metavar="VOXELS", help=_help(tolerance))
    files.add_argument(
        "--blank-is-present", action="store_true", help="a file of one value is an image, not an absent modality"
    )


def _help(key: Key) -> str:
    """What the documents say of a key, without the marks of Markdown."""
    return key.meaning.replace("`", "").replace("%", "%%")


def run(args: argparse.Namespace) -> int:
    """Predict; return 0 if all cases are predicted, 1 if some are not."""
    from nnunet_missingmod.inference.batch import predict_cases

    with cannot_start():
        _check_arguments(args)
        predictor = _load(args)
        cases = _collect(args, predictor)
        _prepare_output(args.output, predictor)
    print_line(
        f"{len(cases)} case{'s' * (len(cases) != 1)}, {predictor.model.trainer} on {', '.join(predictor.modalities)}, "
        f"fold {'+'.join(map(str, predictor.model.folds))}, on {predictor.device}."
    )
    tally = predict_cases(
        predictor,
        cases,
        args.output,
        probabilities=args.save_probabilities,
        resume=args.continue_prediction,
        processes=args.processes,
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
    check_model_options(args)
    if not 0 < args.step_size <= 1:
        raise UsageError(f"-step_size is above 0 and at most 1, got {args.step_size}.")
    check_processes(args.processes)
    if not 0 <= args.part_id < args.num_parts:
        raise UsageError(f"-part_id goes from 0 to -num_parts - 1 = {args.num_parts - 1}, got {args.part_id}.")
    if args.input is not None and not args.input.is_dir():
        raise UsageError(f"There is no folder {args.input}.")
    if args.input is not None and args.input.resolve() == args.output.resolve():
        raise UsageError(f"-o must be another folder than -i: predictions in {args.input} would be taken for images.")
    if args.prev_stage_predictions is not None and not args.prev_stage_predictions.is_dir():
        raise UsageError(f"There is no folder {args.prev_stage_predictions}.")


def _load(args: argparse.Namespace) -> Predictor:
    from nnunet_missingmod.inference.predictor import Predictor

    overrides: dict[str, Any] = {
        "nonfinite": args.nonfinite,
        "geometry_tolerance_voxels": args.geometry_tolerance,
        "blank_is_absent": False if args.blank_is_present else None,
    }
    return Predictor.from_model_folder(
        model_folder(args),
        folds=[int(fold) if fold.isdecimal() else fold for fold in args.folds] if args.folds else None,
        checkpoint=args.checkpoint,
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
        if (args.output / f"{cases[0].case}{ending}").resolve() in {file.resolve() for file in files.values()}:
            raise UsageError(
                f"The prediction would overwrite an image: choose another -o or --case than {cases[0].case}."
            )
    else:
        try:
            cases = find_cases(args.input, names, ending)
        except OSError as error:
            raise UsageError(f"Cannot read the folder {args.input}: {error}.") from error
    if not cases:
        raise UsageError(
            f"There is no case in {args.input}. Expected per case one or more of: {describe_channels(names, ending)}."
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
