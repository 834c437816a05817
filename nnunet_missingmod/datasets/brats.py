"""A BraTS folder of 2017-2021 or 2023+ becomes an nnU-Net raw dataset, missing files allowed.

Channels are FLAIR, T1, T1ce, T2. Labels are 1 NCR, 2 ED, 3 ET: in the naming up to 2021 the enhancing tumour is 4 and
becomes 3. In the naming from 2023 on it is 3 already, and a 4 is the resection cavity of post-treatment glioma (2024):
such a case is refused unless the cavity is kept, which declares the label RC. A refused case costs no other.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from nnunet_missingmod.cases.dataset import presence_table
from nnunet_missingmod.datasets.brats_case import (
    CAVITY,
    FILE_ENDING,
    Conversion,
    convert_case,
    converted_files,
    write_failure,
)
from nnunet_missingmod.datasets.brats_naming import CHANNELS, SourceCase, find_cases
from nnunet_missingmod.errors import FailedError, UsageError
from nnunet_missingmod.storage import read_json_object, write_text

logger = logging.getLogger(__name__)

_MOST_SHOWN = 10

Presence = dict[tuple[str, str], tuple[int, ...]]


class Converted(NamedTuple):
    """What became of a BraTS folder.

    Attributes:
        num_cases: how many it has.
        refused: {case: why it was not converted}.
        presence: the channels of every case that the dataset now has, by (split, case), the splits being ``Tr`` and
            ``Ts``; empty if no case was converted.
    """

    num_cases: int
    refused: dict[str, str]
    presence: Presence


def convert_folder(
    folder: Path, conversion: Conversion, *, name: str, regions: bool = False, overwrite: bool = False, jobs: int = 1
) -> Converted:
    """Convert every case of a BraTS folder, and write ``dataset.json`` and ``presence.csv``.

    Images whose names say nothing are passed over and logged; a case that lacks something beside one is refused.

    Args:
        folder: cases may lie at any depth in it.
        conversion: where cases go, and how.
        name: of the dataset, for its dataset.json.
        regions: declare the regions WT, TC, ET instead of three labels.
        overwrite: replace cases that the dataset has already.
        jobs: cases converted at a time.

    Raises:
        UsageError: there is no case, a folder cannot be read, or the dataset has these cases, or others with other
            labels, or lies among the sources; nothing was written.
        FailedError: the dataset cannot be written to; cases that were converted until then stay.
    """
    _check_apart(folder, conversion.dataset)
    description = dataset_json(name=name, regions=regions, keep_cavity=conversion.keep_cavity)
    cases, unknown = _find(folder)
    _check_existing(conversion.dataset, description, cases, overwrite=overwrite)
    told = {file for case in cases.values() if case.lacks for file in case.unknown}
    for file in unknown:
        if file not in told:
            logger.warning("%s is passed over: its name is none that BraTS uses.", file)
    refused = convert_cases(cases.values(), conversion, jobs=jobs)
    if len(refused) == len(cases):
        return Converted(len(cases), refused, {})
    presence = read_presence(conversion.dataset)
    table = presence_table([(case, split, channels) for (split, case), channels in presence.items()], CHANNELS)
    content = {**description, "numTraining": sum(split == "Tr" for split, _ in presence)}
    try:
        write_text(conversion.dataset / "presence.csv", table)
        write_text(conversion.dataset / "dataset.json", json.dumps(content, indent=4) + "\n")
    except OSError as error:
        raise write_failure(conversion.dataset, error.strerror or str(error)) from error
    return Converted(len(cases), refused, presence)


def convert_cases(cases: Iterable[SourceCase], conversion: Conversion, *, jobs: int = 1) -> dict[str, str]:
    """Convert cases in ``jobs`` threads and return why each of the refused ones was refused, by name.

    Raises:
        FailedError: the dataset cannot be written to.
    """

    def refusal(case: SourceCase) -> str | None:
        try:
            convert_case(case, conversion)
        except FailedError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            return str(error)
        return None

    todo = list(cases)
    conversion.dataset.mkdir(parents=True, exist_ok=True)
    try:
        with ThreadPoolExecutor(jobs) as pool:
            reasons = list(tqdm(pool.map(refusal, todo), "converting", len(todo), disable=None))
    finally:
        for empty in (conversion.dataset / ".unfinished", conversion.dataset):
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


def read_presence(dataset: Path) -> Presence:
    """Return the channels of every case of a raw dataset, by (split, case), the splits being ``Tr`` and ``Ts``."""
    found: Presence = {}
    for split in ("Tr", "Ts"):
        for channel in range(len(CHANNELS)):
            ending = f"_{channel:04d}{FILE_ENDING}"
            for file in (dataset / f"images{split}").glob(f"[!.]*{ending}"):  # hidden files are none of a case
                key = (split, file.name.removesuffix(ending))
                found[key] = (*found.get(key, ()), channel)
    return dict(sorted(found.items()))


def _find(folder: Path) -> tuple[dict[str, SourceCase], list[Path]]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    try:
        cases, unknown = find_cases(folder)
    except OSError as error:
        raise UsageError(f"A folder cannot be read: {error}. Mend the access rights, or move it away.") from error
    if not cases:
        others = f", and {len(unknown) - _MOST_SHOWN} others" if len(unknown) > _MOST_SHOWN else ""
        shown = ", ".join(map(str, unknown[:_MOST_SHOWN])) + others
        raise UsageError(
            f"{folder} holds no BraTS case: expected files such as BraTS20_Training_001_flair.nii.gz or "
            f"BraTS-GLI-00000-000-t2f.nii.gz, at any depth{f'; not recognised: {shown}' if unknown else ''}."
        )
    return cases, unknown


def _check_apart(folder: Path, dataset: Path) -> None:
    """Refuse a dataset among its own sources, whose files would be sources of the next time."""
    source, output = folder.resolve(), dataset.resolve()
    if source in (output, *output.parents) or output in source.parents:
        raise UsageError(f"{dataset} and its sources in {folder} lie in each other: choose another -o.")


def _check_existing(dataset: Path, description: Mapping[str, Any], cases: Iterable[str], *, overwrite: bool) -> None:
    """Refuse to replace cases unasked, and to mix cases with other labels or channels into a dataset."""
    there = [case for case in cases if converted_files(dataset, case)]
    if there and not overwrite:
        raise UsageError(
            f"{dataset} has {len(there)} of these cases already, as {there[0]}: --overwrite replaces them."
        )
    file = dataset / "dataset.json"
    if file.exists():
        try:
            former = read_json_object(file)
        except ValueError as error:
            raise UsageError(f"{file} cannot be used: {error}. Mend it, or give another number (-d).") from error
        for key in ("channel_names", "labels", "regions_class_order"):
            if former.get(key) != description.get(key):
                raise UsageError(
                    f"{file} has {key} {former.get(key)}, these options give {description.get(key)}: use the options "
                    "of before, or another number (-d)."
                )
