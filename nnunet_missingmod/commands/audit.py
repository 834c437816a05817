"""``nnunet_missingmod audit``: whether a trained model leaks what is absent, a row per check."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_missingmod.commands.options import (
    add_checkpoint,
    add_device,
    add_folds,
    add_input,
    add_model_options,
    add_output,
    cannot_start,
    check_folders,
    check_folds,
    check_model_options,
    model_folder,
    print_line,
    take_positional_model,
)
from nnunet_missingmod.commands.values import named_path, path
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.storage import check_output, write_text

if TYPE_CHECKING:
    from nnunet_missingmod.evaluation.aggregation import CaseValues

REPORT_FILE = "audit.md"
JSON_FILE = "audit.json"
_SCORES = "scores.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``audit``."""
    model = parser.add_argument_group("model (-m, or -d -c -tr)")
    model.add_argument("positional", nargs="?", metavar="FOLDER", type=path, help="as -m")
    add_model_options(model, help="model folder TRAINER__PLANS__CONFIGURATION, stock or not, or a shared model")
    add_folds(model)
    add_checkpoint(model)
    add_input(parser, help="images CASE_XXXX, one case of which is predicted to see whether the order of files matters")
    parser.add_argument(
        "--scores",
        metavar="[NAME=]FILE",
        type=named_path,
        help=f"{_SCORES} of evaluate, or its folder, to see whether more modalities hurt; NAME is the model's in it",
    )
    add_output(parser, help=f"folder for {REPORT_FILE} and {JSON_FILE}, made if need be")
    add_device(parser, default="cpu")
    parser.add_argument("--json", action="store_true", help="as JSON, whose keys are stable")


def run(args: argparse.Namespace) -> int:
    """Audit; return 0 if no check fails, 1 if one does."""
    with cannot_start():
        take_positional_model(args)
        check_model_options(args)
        check_folds(args.folds)
        check_folders(args.input)
        if args.output is not None:
            check_output(args.output)
        file, name = (None, None) if args.scores is None else _scores_file(args.scores)
        folder = model_folder(args)
    from nnunet_missingmod.inference.model_audit import audit_model_folder

    with cannot_start():
        found = audit_model_folder(
            folder,
            folds=args.folds,
            checkpoint=args.checkpoint,
            device=args.device,
            images=args.input,
            dice=None if file is None else _dice(file, name, folder),
        )
    as_json = json.dumps(found.as_json(), ensure_ascii=False, indent=2)
    print_line(as_json if args.json else found.as_text(width=shutil.get_terminal_size((120, 24)).columns))
    if args.output is not None:
        write_text(args.output / REPORT_FILE, found.as_markdown())
        write_text(args.output / JSON_FILE, as_json + "\n")
    return 1 if found.failed else 0


def _scores_file(word: str) -> tuple[Path, str | None]:
    """Return the file of ``[NAME=]FILE``, and the name."""
    before, separator, after = word.partition("=")
    # A path that holds a = is one.
    file, name = (Path(after), before) if separator and not Path(word).exists() else (Path(word), None)
    file = file / _SCORES if file.is_dir() else file
    if not file.is_file():
        raise UsageError(f"There is no file {file}: give --scores the {_SCORES} that evaluate wrote, or its folder.")
    return file, name


def _dice(file: Path, name: str | None, folder: Path) -> CaseValues:
    from nnunet_missingmod.audit.more_modalities import dice_of
    from nnunet_missingmod.evaluation.scores import read_scores
    from nnunet_missingmod.inference.model_files import read_model_json
    from nnunet_missingmod.modalities import channel_names

    modalities = channel_names(read_model_json(folder, "dataset.json"))
    return dice_of(read_scores(file), model=name, modalities=modalities)
