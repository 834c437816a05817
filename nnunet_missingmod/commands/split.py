"""``nnunet_missingmod split``: folds with all visits of a patient in one, and every modality in each."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_missingmod.commands.options import add_dataset, cannot_start, one_dataset, print_line
from nnunet_missingmod.commands.values import filled, path
from nnunet_missingmod.errors import UsageError, counted
from nnunet_missingmod.storage import check_output, write_text

if TYPE_CHECKING:
    from nnunet_missingmod.cases.files import CaseFiles

SPLITS = "splits_final.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``split``."""
    parser.add_argument("positional", nargs="?", metavar="DATASET", type=filled, help="as -d")
    add_dataset(parser, help="id, name (Dataset123_Name), or folder of a raw dataset")
    parser.add_argument(
        "--patients",
        metavar="PATTERN",
        type=filled,
        help="regular expression whose one group is the patient in a case's name, such as '(.+)_v[0-9]+'",
    )
    parser.add_argument("--num_folds", type=int, default=5, metavar="N", help="number of folds (default: 5)")
    parser.add_argument("--seed", type=int, default=12345, help="of what is left to chance (default: 12345)")
    parser.add_argument(
        "--file", type=path, help=f"where to write (default: {SPLITS} in the dataset's folder of nnUNet_preprocessed)"
    )
    parser.add_argument("--replace", action="store_true", help="write over folds that are there already")


def run(args: argparse.Namespace) -> int:
    """Write the folds; return 1 if one of them cannot train on and validate every modality, 0 else."""
    from nnunet_missingmod.cases.dataset import find_dataset, find_raw_cases, lacking_modalities, read_dataset_json
    from nnunet_missingmod.modalities import channel_names, compile_pattern, name_patients
    from nnunet_missingmod.planning.splitting import balanced_folds, faults_of_folds, find_visits

    with cannot_start():
        folder = find_dataset(one_dataset(args, "split"))
        dataset_json = read_dataset_json(folder)
        names = channel_names(dataset_json)
        cases = [case for split, case in find_raw_cases(folder, dataset_json)[0] if split == "Tr"]
        in_one_file = _are_in_one_file(cases, folder, dataset_json)
        present = {case.case: list(range(len(names))) if in_one_file else sorted(case.files) for case in cases}
        if not present:
            raise UsageError(f"{folder} has no training cases.")
        patients = {} if args.patients is None else name_patients(present, compile_pattern(args.patients))
        folds = balanced_folds(present, patients=patients, folds=args.num_folds, seed=args.seed)
        target = args.file or splits_file(folder)
        if target is None:
            raise UsageError(f"nnUNet_preprocessed is not set, where nnU-Net reads {SPLITS}: set it, or give --file.")
        if target.exists() and not args.replace:
            raise UsageError(
                f"{target} is there already, and models may have been trained by it: give --replace to write over it."
            )
        check_output(target.absolute().parent)
    write_text(target, json.dumps(folds, indent=2))
    for number, fold in enumerate(folds):
        has = Counter(channel for case in fold["val"] for channel in present[case])
        of_modality = ", ".join(f"{name} {has[channel]}" for channel, name in enumerate(names))
        owners = len({patients.get(case, case) for case in fold["val"]})
        of_patients = f" of {counted(owners, 'patient')}" if patients else ""
        print_line(f"fold {number}: validates {counted(len(fold['val']), 'case')}{of_patients}; with {of_modality}")
    faults = faults_of_folds(folds, present, names, patients=patients)
    for fault in faults:
        print_line(fault)
    if faults:
        print_line(_advice(present, patients, names, args.num_folds))
    lacking = lacking_modalities(present.values(), names)
    if lacking is not None:
        print_line(lacking)
    if args.patients is None and (visits := find_visits(sorted(present))) is not None:
        print_line(visits_notice(visits.pattern, visits.of_patient))
    print_line(f"Saved as {target}.")
    return 1 if faults or lacking is not None else 0


def _are_in_one_file(cases: Sequence[CaseFiles], folder: Path, dataset_json: Mapping[str, Any]) -> bool:
    """Return whether the first file of each case holds all its channels, as an RGB picture does.

    The first case that can be read says so of all: they are alike.
    """
    from nnunet_missingmod.cases.inspection import reader_of
    from nnunet_missingmod.cases.preflight import check_case
    from nnunet_missingmod.modalities import channel_names
    from nnunet_missingmod.plans_block import resolve

    names, ending = channel_names(dataset_json), dataset_json["file_ending"]
    usable = [case for case in cases if case.files]
    if len(names) == 1 or not usable or any(list(case.files) != [0] for case in usable):
        return False
    reader = reader_of(folder, dataset_json, [case.files[0] for case in usable])
    for case in usable:
        check = check_case(case, names, reader, file_ending=ending, choices=resolve(None))
        if number := len(check.present) + len(check.blank):
            return number > 1
    return False


def _advice(
    present: Mapping[str, Sequence[int]], patients: Mapping[str, str], names: Sequence[str], num_folds: int
) -> str:
    """Return what to do about folds that lack a modality."""
    said = []
    for channel, name in enumerate(names):
        number = len({patients.get(case, case) for case, channels in present.items() if channel in channels})
        if number == 1:
            said.append(f"One patient alone has {name}: a fold trains on it or validates it, and none can do both.")
        elif 0 < number < num_folds:
            said.append(f"Too few patients have {name} ({number}): take fewer folds.")
    return "\n".join(said) or "No folds with every modality in each were found: take fewer folds, or another --seed."


def visits_notice(pattern: str, of_patient: dict[str, list[str]]) -> str:
    """Return what to do about cases that look like visits of one patient."""
    patient, visits = next(iter(of_patient.items()))
    return (
        f"{len(of_patient)} patients may have several cases: {', '.join(visits[:3])} look like visits of {patient}; "
        f"if so, keep each in one fold: nnunet_missingmod split DATASET --patients '{pattern}'"
    )


def splits_file(folder: Path) -> Path | None:
    """Return where nnU-Net reads the folds of a raw dataset, or None where its variable is not set."""
    preprocessed = os.environ.get("nnUNet_preprocessed")  # noqa: SIM112 - the host's name
    # A link keeps its own name, by which nnU-Net knows the dataset.
    return Path(preprocessed) / Path(os.path.abspath(folder)).name / SPLITS if preprocessed else None
