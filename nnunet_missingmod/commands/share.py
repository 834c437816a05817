"""``nnunet_missingmod share``: pack a model for others, in a zip that ``-m`` takes or that stock nnU-Net installs."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from nnunet_missingmod.commands.options import (
    add_checkpoint,
    add_folds,
    add_model_options,
    add_option,
    cannot_start,
    check_folds,
    check_model_options,
    model_folder,
    print_line,
    take_positional_model,
)
from nnunet_missingmod.commands.values import filled, path
from nnunet_missingmod.errors import FailedError, UsageError
from nnunet_missingmod.sharing.manifest import MANIFEST, README
from nnunet_missingmod.storage import check_output, file_fingerprint, name_problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``share``."""
    model = parser.add_argument_group("model (-m, or -d -c -tr)")
    model.add_argument("positional", nargs="?", metavar="FOLDER", type=path, help="as -m")
    add_model_options(model)
    add_folds(model)
    add_checkpoint(model)
    add_option(parser, "-o", "--output", metavar="FILE", type=path, required=True, help="the zip, as model.zip")
    parser.add_argument(
        "--license", metavar="NAME", type=filled, help="as cc-by-4.0 (default: that of a shared model, else unknown)"
    )
    parser.add_argument(
        "--for-nnunet",
        action="store_true",
        help="a zip for nnUNetv2_install_pretrained_model_from_zip, whose checkpoints are pickled",
    )


def run(args: argparse.Namespace) -> int:
    """Pack the model; return 0."""
    with cannot_start():
        take_positional_model(args)
        check_model_options(args)
        check_folds(args.folds)
        _check_output(args)
        folder = model_folder(args)
    from nnunet_missingmod.inference.advise import ExpectedAccuracy
    from nnunet_missingmod.inference.model_folder import open_model_folder, plans_errors_explained
    from nnunet_missingmod.inference.share import names_of_cases, share_for_nnunet, share_model
    from nnunet_missingmod.inference.share_page import UNKNOWN, check_license, license_of

    with cannot_start():
        page = folder / README  # the copy of a model of the Hub has none
        is_shared = (folder / MANIFEST).is_file() and page.is_file()
        told = license_of(page.read_text(encoding="utf-8")) if is_shared else UNKNOWN
        license = check_license(told if args.license is None else args.license)
        with plans_errors_explained(folder):
            model = open_model_folder(folder, folds=args.folds, checkpoint_name=args.checkpoint)
        accuracy = ExpectedAccuracy.of_model(model)
    pack = share_for_nnunet if args.for_nnunet else share_model
    try:
        pack(model, args.output, license=license, accuracy=accuracy)
    except ValueError as error:
        raise FailedError(str(error)) from error
    print_line(
        f"{args.output}: {model.trainer} on {', '.join(model.modalities)}, fold {'+'.join(map(str, model.folds))}, "
        f"{args.output.stat().st_size / 1e6:.1f} MB, SHA-256 {file_fingerprint(args.output)}."
    )
    named = [f"{name} ({number})" for name, number in names_of_cases(model, accuracy).items()]
    if named:
        print_line(f"Names of cases are in it, in {' and '.join(named)}: see that they tell nothing of patients.")
    return 0


def _check_output(args: argparse.Namespace) -> None:
    check_output(args.output.parent)
    if args.output.suffix != ".zip":
        raise UsageError(f"-o is the zip's file, as model.zip, got {args.output}.")
    if problem := name_problem(args.output.name):
        raise UsageError(f"-o {args.output} cannot be: the name {problem}.")
    if args.output.is_dir() or args.output.resolve() == (args.model and args.model.resolve()):
        raise UsageError(f"-o {args.output} is a folder, or the model itself: choose another name.")
    if args.output.exists() and not _is_of_a_model(args.output):
        raise UsageError(f"-o {args.output} is there and no zip of a model: choose another name.")


def _is_of_a_model(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.rpartition("/")[2] == "plans.json" for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
