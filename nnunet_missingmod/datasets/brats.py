"""``convert-brats``: a BraTS folder of 2017-2021 or 2023+ becomes an nnU-Net raw dataset, missing files allowed.

Channels are FLAIR, T1, T1ce, T2. Labels are 1 NCR, 2 ED, 3 ET: in the naming up to 2021 the enhancing tumour is 4 and
becomes 3. In the naming from 2023 on it is 3 already, and a 4 is the resection cavity of post-treatment glioma (2024):
such a case is refused unless ``--keep-cavity`` declares the label RC. A refused case costs no other.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_missingmod.console import say
from nnunet_missingmod.datasets.brats_case import CAVITY, FILE_ENDING, Conversion, convert_case, converted_files
from nnunet_missingmod.datasets.brats_naming import CHANNELS, SourceCase, find_cases
from nnunet_missingmod.modalities import subset_name
from nnunet_missingmod.storage import write_text

logger = logging.getLogger(__name__)


class UsageError(ValueError):
    """The command cannot begin; nothing was written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``convert-brats``."""
    parser.add_argument("folder", type=Path, help="BraTS folder; cases may lie at any depth in it")
    parser.add_argument("--dataset-id", type=int, required=True, help="number of the nnU-Net dataset, 1 to 999")
    parser.add_argument("--name", default="BraTS", help="name of the nnU-Net dataset (default: BraTS)")
    parser.add_argument("--output", type=Path, help="folder of raw datasets (default: $nnUNet_raw)")
    parser.add_argument(
        "--test", action="store_true", help="every case is a test case: imagesTs, and labelsTs if it is segmented"
    )
    parser.add_argument("--regions", action="store_true", help="declare the regions WT, TC, ET instead of three labels")
    parser.add_argument(
        "--keep-cavity", action="store_true", help="keep label 4 of the 2023+ naming as RC, the resection cavity (2024)"
    )
    parser.add_argument("--jobs", type=int, default=4, help="cases converted at a time (default: 4)")
    parser.add_argument("--overwrite", action="store_true", help="replace cases that the dataset has already")
    placing = parser.add_mutually_exclusive_group()
    placing.add_argument("--copy", action="store_true", help="copy images that are .nii.gz already (default)")
    placing.add_argument("--symlink", action="store_true", help="link to them instead, which saves disk")


def run(args: argparse.Namespace) -> int:
    """Convert a BraTS folder; return 0 if every case was converted, 1 if some were refused, 2 on wrong usage."""
    description = dataset_json(name=args.name, regions=args.regions, keep_cavity=args.keep_cavity)
    try:
        dataset = _dataset_folder(args)
        cases, unknown = _find(args.folder)
        _check_existing(dataset, description, cases, overwrite=args.overwrite)
    except UsageError as error:
        logger.error("%s", error)
        return 2
    for file in unknown:
        logger.warning("%s is passed over: its name is none that BraTS uses.", file)

    conversion = Conversion(dataset, test=args.test, symlink=args.symlink, keep_cavity=args.keep_cavity)
    refused = convert_cases(cases.values(), conversion, jobs=args.jobs)
    if len(refused) < len(cases):
        _finish(dataset, description)
    for name, reason in refused.items():
        logger.error("%s is refused: %s", name, reason)
    say(f"{len(cases) - len(refused)} of {len(cases)} cases converted, {len(refused)} refused: {dataset}")
    return 1 if refused else 0


def convert_cases(cases: Iterable[SourceCase], conversion: Conversion, *, jobs: int = 1) -> dict[str, str]:
    """Convert cases in ``jobs`` threads and return why each of the refused ones was refused, by name."""

    def refusal(case: SourceCase) -> str | None:
        try:
            convert_case(case, conversion)
        except (OSError, RuntimeError, ValueError) as error:
            return str(error)
        return None

    todo = list(cases)
    conversion.dataset.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        reasons = list(tqdm(pool.map(refusal, todo), "converting", len(todo), disable=None))
    unfinished = conversion.dataset / ".unfinished"
    for empty in (unfinished, conversion.dataset):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()
    return {case.name: reason for case, reason in zip(todo, reasons, strict=True) if reason is not None}


def dataset_json(*, name: str, regions: bool, keep_cavity: bool) -> dict[str, Any]:
    """Return the content of ``dataset.json``, all but the number of training cases.

    The regions are WT = {1, 2, 3}, TC = {1, 3}, ET = {3}. ``regions_class_order`` writes what is in WT only as 2 (ED),
    what is in TC as 1 (NCR) and what is in ET as 3, so that a predicted label map holds BraTS labels.
    """
    labels: dict[str, Any] = {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
    if regions:
        labels = {"background": 0, "WT": [1, 2, 3], "TC": [1, 3], "ET": [3]}
    if keep_cavity:
        labels["RC"] = [CAVITY] if regions else CAVITY
    content: dict[str, Any] = {
        "name": name,
        "channel_names": {str(channel): modality for channel, modality in enumerate(CHANNELS)},
        "labels": labels,
        "file_ending": FILE_ENDING,
    }
    if regions:
        content["regions_class_order"] = [2, 1, 3, CAVITY] if keep_cavity else [2, 1, 3]
    return content


def read_presence(dataset: Path) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the channels of every case of a raw dataset, by (split, case), the splits being ``Tr`` and ``Ts``."""
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for split in ("Tr", "Ts"):
        for channel in range(len(CHANNELS)):
            ending = f"_{channel:04d}{FILE_ENDING}"
            for file in (dataset / f"images{split}").glob(f"*{ending}"):
                key = (split, file.name.removesuffix(ending))
                found[key] = (*found.get(key, ()), channel)
    return dict(sorted(found.items()))


def _dataset_folder(args: argparse.Namespace) -> Path:
    raw = args.output or os.environ.get("nnUNet_raw")  # noqa: SIM112
    if not raw:
        raise UsageError("There is no folder to write to: give --output FOLDER or set the variable nnUNet_raw.")
    if not 1 <= args.dataset_id <= 999:
        raise UsageError(f"--dataset-id is a number from 1 to 999, got {args.dataset_id}.")
    if args.jobs < 1:
        raise UsageError(f"--jobs is 1 or more, got {args.jobs}.")
    dataset = Path(raw) / f"Dataset{args.dataset_id:03d}_{args.name}"
    others = [path.name for path in dataset.parent.glob(f"Dataset{args.dataset_id:03d}_*") if path.name != dataset.name]
    if others:
        raise UsageError(f"{others[0]} in {raw} has this number already: choose another --dataset-id.")
    return dataset


def _find(folder: Path) -> tuple[dict[str, SourceCase], list[Path]]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    cases, unknown = find_cases(folder)
    if not cases:
        raise UsageError(
            f"{folder} holds no BraTS case: expected files such as BraTS20_Training_001_flair.nii.gz or "
            "BraTS-GLI-00000-000-t2f.nii.gz, at any depth."
        )
    return cases, unknown


def _check_existing(dataset: Path, description: Mapping[str, Any], cases: Iterable[str], *, overwrite: bool) -> None:
    """Refuse to replace cases unasked, and to mix cases with other labels or channels into a dataset."""
    there = [case for case in cases if converted_files(dataset, case)]
    if there and not overwrite:
        raise UsageError(
            f"{dataset} has {len(there)} of these cases already, as {there[0]}: --overwrite replaces them."
        )
    file = dataset / "dataset.json"
    if file.exists():
        former = json.loads(file.read_text(encoding="utf-8"))
        for key in ("channel_names", "labels", "regions_class_order"):
            if former.get(key) != description.get(key):
                raise UsageError(
                    f"{file} has {key} {former.get(key)}, these options give {description.get(key)}: use the options "
                    "of before, or another --dataset-id."
                )


def _finish(dataset: Path, description: Mapping[str, Any]) -> None:
    """Write dataset.json and presence.csv for all cases of the dataset, and print how many have which modalities."""
    presence = read_presence(dataset)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["case", "split", *CHANNELS])
    for (split, case), channels in presence.items():
        writer.writerow([case, split, *(int(channel in channels) for channel in range(len(CHANNELS)))])
    write_text(dataset / "presence.csv", table.getvalue())
    content = {**description, "numTraining": sum(split == "Tr" for split, _ in presence)}
    write_text(dataset / "dataset.json", json.dumps(content, indent=4) + "\n")
    counts = Counter((split, channels) for (split, _), channels in presence.items())
    say(f"{'cases':>6}  {'split':5}  modalities")
    for (split, channels), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        say(f"{count:6}  {split:5}  {subset_name(channels, CHANNELS)}")
