"""nnU-Net's raw datasets: where one lies, which cases it has, complete or not, and what is wrong beside them.

What dataset.json says is read and checked in ``description``.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_missingmod.cases.description import DatasetError, label_values, planning_problems, read_dataset_json
from nnunet_missingmod.cases.files import (
    CaseFiles,
    CaseRefusedError,
    assign_channels,
    describe_channels,
    find_cases,
    hidden_files,
)
from nnunet_missingmod.errors import listed
from nnunet_missingmod.modalities import channel_names, choose_channel

__all__ = [
    "DatasetError",
    "dataset_problems",
    "find_dataset",
    "find_listed_case",
    "find_raw_cases",
    "label_values",
    "lacking_modalities",
    "listed_case",
    "presence_table",
    "read_dataset_json",
]


def find_dataset(dataset: str) -> Path:
    """Return the folder of a raw dataset given by id, name or folder.

    Raises:
        DatasetError: there is none, or several have the id.
    """
    # "." is a path, and the name of no folder.
    if os.sep in dataset or Path(dataset).name != dataset or (Path(dataset) / "dataset.json").is_file():
        return Path(dataset)
    raw = os.environ.get("nnUNet_raw")  # noqa: SIM112 - the host's name
    if not raw and Path(dataset).is_dir():
        raise DatasetError(
            f"{dataset} is a folder without dataset.json, and so no raw dataset. To look at a folder of images, name "
            f"the dataset or a model's folder, too: nnunet_missingmod inspect FOLDER -i {dataset}."
        )
    if not raw:
        raise DatasetError(
            f"nnUNet_raw is not set, so {dataset} cannot be found: set it, or give the dataset's folder."
        )
    folders = sorted(path for path in Path(raw).glob("*") if path.is_dir())
    number = f"Dataset{int(dataset):03d}_" if dataset.isdecimal() else None
    found = [path for path in folders if (path.name.startswith(number) if number else path.name == dataset)]
    wanted = f"{number}*" if number else dataset
    if not found:
        there = ", ".join(path.name for path in folders if path.name.startswith("Dataset")) or "none"
        raise DatasetError(f"There is no dataset {wanted} in {raw}. Datasets there: {there}.")
    if len(found) > 1:
        named = ", ".join(path.name for path in found)
        raise DatasetError(f"There are {len(found)} datasets {wanted} in {raw}: {named}. Give one of these names.")
    return found[0]


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
            found = [listed_case(case, entry, folder, names, file_ending=ending) for case, entry in listed.items()]
            labels |= {("Tr", case): _resolved(entry["label"], folder) for case, entry in listed.items()}
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
    """Return what is wrong beside the cases: what nnU-Net's own commands refuse, and label maps without images.

    Whether each modality has a case is said by ``lacking_modalities``, when it is known which files are blank.
    """
    training = [case for split, case in cases if split == "Tr"]
    problems = [f"dataset.json: {problem}" for problem in planning_problems(folder, dataset_json)]
    for split in ("Ts",) if "dataset" in dataset_json else ("Tr", "Ts"):
        hidden = hidden_files(folder / f"images{split}", dataset_json["file_ending"])
        problems += [hidden] if hidden else []
    if not training:
        expected = describe_channels(channel_names(dataset_json), dataset_json["file_ending"])
        return [*problems, f"{folder / 'imagesTr'} has no training case. Expected per case one or more of: {expected}."]
    number, values = json.dumps(dataset_json.get("numTraining")), sorted(label_values(dataset_json))
    refused = "nnU-Net's --verify_dataset_integrity refuses that."
    if number != str(len(training)):
        problems.append(
            f'dataset.json: "numTraining" is {number}, but there are {len(training)} training cases. {refused}'
        )
    if values != list(range(len(values))):  # of regions; other labels are not accepted
        problems.append(f"dataset.json: the labels are {values}, not consecutive. {refused}")
    problems += _files_of_several_cases(cases, label_files)
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


def _files_of_several_cases(
    cases: Sequence[tuple[str, CaseFiles]], label_files: Mapping[tuple[str, str], Path]
) -> Iterator[str]:
    """Yield a sentence for each file that the ``"dataset"`` entry lists for more than one case."""
    cases_of: defaultdict[Path, list[str]] = defaultdict(list)
    for split, case in cases:
        files = {*case.files.values(), *([label_files[split, case.case]] if split == "Tr" else [])}
        for file in files:
            cases_of[file].append(case.case)
    for file, users in cases_of.items():
        if len(users) > 1:
            yield f"{file} is a file of several cases: {listed(users, most=5, rest='{} others')}."


def lacking_modalities(present: Iterable[Collection[int | str]], names: Sequence[str]) -> str | None:
    """Return a sentence on the modalities that no training case has, without which nnU-Net cannot plan; else None.

    Args:
        present: what each training case has, as channels or as names.
        names: the modality names in channel order.
    """
    there = {each for case in present for each in case}
    lacking = [f"{name} (channel {channel})" for channel, name in enumerate(names) if not {channel, name} & there]
    if not lacking:
        return None
    return (
        f"No training case has {', '.join(lacking)}; a blank file counts as absent. Remove from channel_names in "
        "dataset.json what no case has, and renumber the files; or add cases that have it."
    )


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


def listed_case(
    case: str, entry: Mapping[str, Any], folder: Path, names: Sequence[str], *, file_ending: str
) -> CaseFiles:
    """Return a case of the ``"dataset"`` entry of dataset.json, which lists files of any name, wherever they lie.

    ``"images"`` has the files in channel order, and ``""`` (or null) in the place of an absent one; or it is an object
    {modality name or channel number: file}. A list of fewer files than there are channels is read by their suffixes.

    Args:
        entry: ``{"images": ..., "label": file}``.
        folder: of the raw dataset, to which paths are relative.
        names: the modality names in channel order.
    """
    images = entry["images"]
    try:
        if isinstance(images, Mapping):
            given = {}
            for name, file in images.items():
                channel = _listed_channel(case, str(name), names)
                if channel in given:
                    raise CaseRefusedError(case, f"{name!r} in dataset.json is {names[channel]} a second time.")
                given[channel] = file
        elif len(images) == len(names):
            given = dict(enumerate(images))
        else:
            there = [_resolved(file, folder) for file in images if file]
            given = assign_channels(there, names, file_ending) if there else {}
    except CaseRefusedError as error:
        listing = f'List {len(names)} files in "images" of dataset.json, in channel order, "" for an absent one.'
        return CaseFiles(case, {}, (f"{error.problem} {listing}",))
    files = {channel: _resolved(file, folder) for channel, file in sorted(given.items()) if file}
    problems = [
        f'{file} ({names[channel]}), which dataset.json lists, does not exist. Mend the path, or write "" in its place.'
        for channel, file in files.items()
        if not file.is_file()
    ]
    if not files:
        problems.append(f"dataset.json lists no image of it. List at least one of: {', '.join(names)}.")
    return CaseFiles(case, {} if problems else files, tuple(problems))


def find_listed_case(image_files: Sequence[str], label: str, folder: Path) -> CaseFiles | None:
    """Return the case of the ``"dataset"`` entry that nnU-Net's preprocessing gives as these files; None if none is.

    nnU-Net knows no names in an object of files: it gives the names in place of the files, and puts them into its copy
    of dataset.json. So the file is read again.

    Args:
        image_files, label: as nnU-Net gives them, with the paths of a list made absolute.
        folder: of the raw dataset.

    Raises:
        DatasetError: dataset.json cannot be read.
    """
    content = read_dataset_json(folder)
    names, listing = channel_names(content), content.get("dataset", {})
    wanted = [_resolved(file, folder) for file in (label, *image_files)]
    found = [  # of an object nnU-Net takes the keys, as this does
        case
        for case, entry in listing.items()
        if wanted == [_resolved(file or "", folder) for file in (entry["label"], *entry["images"])]
    ]
    if not found:
        return None
    first, *others = found
    if any(listing[other]["images"] != listing[first]["images"] for other in others):
        problem = f'case {others[0]!r} has the same label map. List the files of both as "images": [FILE, ...].'
        return CaseFiles(first, {}, (problem,))
    return listed_case(first, listing[first], folder, names, file_ending=content["file_ending"])


def _listed_channel(case: str, name: str, names: Sequence[str]) -> int:
    if name not in names and name.isdecimal() and int(name) < len(names):
        return int(name)
    try:
        return choose_channel(name, names)
    except ValueError as error:
        raise CaseRefusedError(case, str(error)) from error


def _resolved(file: str | Path, folder: Path) -> Path:
    """Return the path of a file that dataset.json lists, as nnU-Net finds it."""
    return Path(os.path.abspath(folder / os.path.expandvars(file)))
