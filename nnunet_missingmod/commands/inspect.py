"""``nnunet_missingmod inspect``: which case of a raw dataset has which modalities, and what is wrong with its files."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_missingmod.commands.options import (
    add_dataset,
    add_input,
    add_output,
    add_processes,
    cannot_start,
    check_folders,
    check_processes,
    one_dataset,
    print_line,
)
from nnunet_missingmod.commands.split import splits_file, visits_notice
from nnunet_missingmod.commands.values import filled, path
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.storage import check_output, write_text

if TYPE_CHECKING:
    from nnunet_missingmod.cases.inspection import InspectedCase

TABLE_FILE = "presence.csv"
_BETTER_FOLDS = "Before the first training, nnunet_missingmod split DATASET makes folds that are balanced by modality."
REPORT_FILE = "inspection.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``inspect``."""
    parser.add_argument("positional", nargs="?", metavar="DATASET", type=filled, help="as -d")
    add_dataset(parser, help="id, name (Dataset123_Name), or folder of a raw dataset")
    add_input(parser, help="another folder of images CASE_XXXX to inspect, of the dataset's modalities")
    add_output(parser, help=f"where to save {TABLE_FILE} and {REPORT_FILE} (default: the dataset)")
    parser.add_argument(
        "--prevalence",
        metavar="FILE",
        type=path,
        help="CSV file to write: how many cases have which subset of modalities, for evaluate --prevalence",
    )
    add_processes(parser, help="processes that read the files")


def run(args: argparse.Namespace) -> int:
    """Inspect; return 0 if nothing is wrong with the files, 1 if something is."""
    with cannot_start():
        check_processes(args.processes)
        dataset = one_dataset(args, "inspect")
        check_folders(args.input)
        if args.prevalence is not None:
            _check_file(args.prevalence)
        if args.output is not None:
            check_output(args.output)
    from nnunet_missingmod.cases.dataset import find_dataset, lacking_modalities, presence_table, read_dataset_json
    from nnunet_missingmod.cases.description import renamed_channels
    from nnunet_missingmod.cases.inspection import describe, inspect_dataset
    from nnunet_missingmod.modalities import channel_names
    from nnunet_missingmod.prevalence import write_prevalence

    with cannot_start():
        folder = find_dataset(dataset)
        dataset_json = read_dataset_json(folder)
        names = channel_names(dataset_json)
        if args.input is not None and not any(args.input.iterdir()):
            raise UsageError(f"{args.input} is empty.")
    cases, problems = inspect_dataset(folder, dataset_json, images=args.input, processes=args.processes)
    # What cannot be read is a problem of its case already.
    there = [(*case.present, *case.unusable) for case in cases if case.split == "Tr"]
    if any(there) and (lacking := lacking_modalities(there, names)) is not None:
        problems.append(lacking)
    renamed = renamed_channels(dataset_json)
    notices = [*([renamed] if renamed else []), *_about_folds(folder, cases, names)]
    report = "\n\n".join([describe(cases, problems, names), *notices])
    print_line(report)
    if args.prevalence is not None:
        counts = Counter(tuple(map(names.index, case.present)) for case in cases)
        write_prevalence(args.prevalence, counts, names)
        print_line(f"Saved as {args.prevalence}: how often each subset of modalities occurs.")
    if args.input is not None and args.output is None:
        return _code(cases, problems)
    target: Path = args.output or folder
    try:
        write_text(
            target / TABLE_FILE, presence_table([(case.case, case.split, case.present) for case in cases], names)
        )
        write_text(target / REPORT_FILE, report + "\n")
    except OSError as error:
        if args.output is not None:
            raise
        print_line(f"Not saved: {target} cannot be written to ({error.strerror or error}). Give a folder with -o.")
    else:
        print_line(f"Saved as {target / TABLE_FILE} and {target / REPORT_FILE}.")
    return _code(cases, problems)


def _about_folds(folder: Path, cases: Sequence[InspectedCase], names: Sequence[str]) -> list[str]:
    """Return what is to be said of the folds of training cases: nnU-Net's own, unless there are others."""
    from nnunet_missingmod.planning.splitting import faults_of_folds, find_visits, host_folds

    present = {case.case: [names.index(name) for name in case.present] for case in cases if case.split == "Tr"}
    file = splits_file(folder)
    if file is not None and file.is_file():
        folds, source = _read_folds(file), str(file)
        if folds is None:
            return [f"{file} is no list of folds, each with the cases of train and val. {_BETTER_FOLDS}"]
    else:
        folds, source = host_folds(sorted(present)), "the folds that nnU-Net makes"
    visits = find_visits(sorted(present))
    owners = {} if visits is None else {case: name for name, several in visits.of_patient.items() for case in several}
    said = []
    faults = faults_of_folds(folds, present, names, patients=owners)
    if visits is not None and any(" patients that it trains on: " in fault for fault in faults):
        said.append(visits_notice(visits.pattern, visits.of_patient))
    if faults:
        said.append(f"With {source}:\n" + "\n".join(f"- {fault}" for fault in faults) + f"\n{_BETTER_FOLDS}")
    return said


def _read_folds(file: Path) -> list[dict[str, list[str]]] | None:
    """Return the folds of a splits_final.json, or None if it holds something else."""
    try:
        folds = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    are_folds = isinstance(folds, list) and all(
        isinstance(fold, dict) and all(_are_names(fold.get(kind)) for kind in ("train", "val")) for fold in folds
    )
    return folds if folds and are_folds else None


def _are_names(cases: object) -> bool:
    return isinstance(cases, list) and all(isinstance(case, str) for case in cases)


def _check_file(file: Path) -> None:
    """Check that the file of ``--prevalence`` can be written.

    Raises:
        UsageError: it is a folder or some other file, or lies where nothing can be written.
    """
    from nnunet_missingmod.prevalence import is_prevalence_file

    if file.is_dir():
        raise UsageError(f"--prevalence is a file to write, and {file} is a folder.")
    if file.exists() and not is_prevalence_file(file):
        raise UsageError(f"--prevalence writes {file}, which is there and no prevalence file: choose another name.")
    try:
        check_output(file.absolute().parent)
    except UsageError as error:
        raise UsageError(f"{file} cannot be written: {getattr(error.__cause__, 'strerror', None) or error}.") from error


def _code(cases: Sequence[InspectedCase], problems: Sequence[str]) -> int:
    return 1 if problems or any(case.problems for case in cases) else 0
