"""nnU-Net's raw datasets: where one lies, what its dataset.json says, which cases it has, complete or not."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_missingmod.cases.files import CaseFiles, CaseRefusedError, assign_channels, describe_channels, find_cases
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.modalities import channel_names


class DatasetError(UsageError):
    """There is no dataset to work on; the message says what to give."""


def find_dataset(dataset: str) -> Path:
    """Return the folder of a raw dataset given by id, name or folder.

    Raises:
        DatasetError: there is none, or several have the id.
    """
    if os.sep in dataset or (Path(dataset) / "dataset.json").is_file():
        return Path(dataset)
    raw = os.environ.get("nnUNet_raw")  # noqa: SIM112 - the host's name
    if not raw:
        raise DatasetError(
            f"nnUNet_raw is not set, so {dataset} cannot be found: set it, or give the dataset's folder."
        )
    pattern = f"Dataset{int(dataset):03d}_*" if dataset.isdecimal() else dataset
    found = sorted(Path(raw).glob(pattern))
    if len(found) != 1:
        there = ", ".join(sorted(path.name for path in Path(raw).glob("Dataset*"))) or "none"
        several = f"There are {len(found)} datasets" if found else "There is no dataset"
        raise DatasetError(f"{several} {pattern} in {raw}. Datasets there: {there}.")
    return found[0]


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Return dataset.json of a raw dataset, which has channels, labels and a file ending.

    Raises:
        DatasetError: it cannot be read, or lacks one of these.
    """
    file = folder / "dataset.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file} cannot be read: {error}. Give the folder of a raw dataset, its id or its name."
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{file} holds a {type(content).__name__}, not the description of a dataset.")
    missing = [key for key in ("labels", "file_ending") if key not in content]
    if missing:
        raise DatasetError(f"{file} has no {', '.join(missing)}.")
    try:
        channel_names(content)
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{file}: {error}") from error
    try:
        label_values(content)
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{file}: "labels" gives each name a whole number, or the numbers of a region; got {content["labels"]}.'
        ) from error
    return content


def label_values(dataset_json: Mapping[str, Any]) -> set[int]:
    """Return all label values: those of regions and the ignore label too."""
    values = dataset_json["labels"].values()
    return {int(value) for entry in values for value in (entry if isinstance(entry, list | tuple) else [entry])}


def find_raw_cases(
    folder: Path, dataset_json: Mapping[str, Any]
) -> tuple[list[tuple[str, CaseFiles]], dict[tuple[str, str], Path]]:
    """Return the cases of ``imagesTr`` and ``imagesTs``, and where the label map of each is or should be.

    Cases listed in dataset.json (``"dataset"``) are training cases in place of ``imagesTr``. Test cases need no label
    map.

    Returns:
        [(split, case)], the splits being ``Tr`` and ``Ts``; and {(split, case name): label map}.
    """
    names, ending = channel_names(dataset_json), dataset_json["file_ending"]
    cases: list[tuple[str, CaseFiles]] = []
    labels: dict[tuple[str, str], Path] = {}
    for split in ("Tr", "Ts"):
        listed = dataset_json.get("dataset") if split == "Tr" else None
        images = folder / f"images{split}"
        if listed:
            found = [_listed_case(case, files, folder, names, ending) for case, files in listed.items()]
            labels |= {("Tr", case): _resolved(files["label"], folder) for case, files in listed.items()}
        else:
            found = find_cases(images, names, ending) if images.is_dir() else []
            of_split = {(split, case.case): folder / f"labels{split}" / f"{case.case}{ending}" for case in found}
            labels |= {key: file for key, file in of_split.items() if split == "Tr" or file.is_file()}
        cases += [(split, case) for case in found]
    return cases, labels


def dataset_problems(
    folder: Path,
    dataset_json: Mapping[str, Any],
    cases: Sequence[tuple[str, CaseFiles]],
    label_files: Mapping[tuple[str, str], Path],
) -> list[str]:
    """Return what is wrong beside the cases: their number, and label maps without images."""
    training = [case for split, case in cases if split == "Tr"]
    if not training:
        expected = describe_channels(channel_names(dataset_json), dataset_json["file_ending"])
        return [f"{folder / 'imagesTr'} has no training case. Expected per case one or more of: {expected}."]
    problems = []
    if dataset_json.get("numTraining") != len(training):
        problems.append(
            f'dataset.json: "numTraining" is {dataset_json.get("numTraining")}, but there are {len(training)} training '
            "cases. nnU-Net's --verify_dataset_integrity refuses that."
        )
    if "dataset" not in dataset_json and (folder / "labelsTr").is_dir():
        expected_labels = set(label_files.values())
        lonely = [
            file.name
            for file in sorted((folder / "labelsTr").iterdir())
            if file.name.endswith(dataset_json["file_ending"])
            and not file.name.startswith(".")
            and file not in expected_labels
        ]
        if lonely:
            problems.append(f"labelsTr has label maps without images: {', '.join(lonely)}. Remove them, or add images.")
    return problems


def presence_table(rows: Iterable[tuple[str, str, Collection[int | str]]], names: Sequence[str]) -> str:
    """Return ``presence.csv``: case, split, and per modality 1 if it is present, else 0.

    Args:
        rows: case, split (``Tr`` or ``Ts``), and what is present, as channels or as names.
        names: the modality names in channel order.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["case", "split", *names])
    for case, split, present in rows:
        marks = (int(channel in present or name in present) for channel, name in enumerate(names))
        writer.writerow([case, split, *marks])
    return table.getvalue()


def _listed_case(case: str, files: Mapping[str, Any], folder: Path, names: Sequence[str], ending: str) -> CaseFiles:
    """A case of the ``"dataset"`` entry of dataset.json, which lists files wherever they lie."""
    try:
        return CaseFiles(case, assign_channels([_resolved(file, folder) for file in files["images"]], names, ending))
    except CaseRefusedError as error:
        return CaseFiles(case, {}, (error.problem,))


def _resolved(file: str, folder: Path) -> Path:
    return folder / os.path.expandvars(file)
