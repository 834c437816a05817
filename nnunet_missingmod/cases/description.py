"""What dataset.json says of a dataset: read and checked once, for every command, planner and trainer.

A dataset.json with which nnU-Net works is accepted. Any other is refused in one sentence that has the right form.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_missingmod.cases.files import hidden_files
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.modalities import channel_names, written_names
from nnunet_missingmod.storage import name_problem, read_json_object

_FILE = "dataset.json"
_LABELS = '"labels": {"background": 0, "tumour": 1}'
_LISTED = '"dataset": {"CASE": {"images": ["flair.nii.gz", ""], "label": "seg.nii.gz"}}'


class DatasetError(UsageError):
    """There is no dataset to work on; the message says what to give."""


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Return dataset.json of a raw dataset or a model folder, which `check_dataset_json` accepts.

    Raises:
        DatasetError: it cannot be read, or is refused.
    """
    file = folder / _FILE
    try:
        content = read_json_object(file)
    except ValueError as error:
        raise DatasetError(
            f"{file} cannot be read: {error}. Give the folder of a raw dataset, its id or its name."
        ) from error
    try:
        check_dataset_json(content)
    except ValueError as error:
        raise DatasetError(f"{file}: {error}") from error
    return content


def check_dataset_json(content: Mapping[str, Any]) -> None:
    """Check that a dataset.json names its channels, labels and file ending as nnU-Net needs them.

    Raises:
        ValueError: says what is wrong, and the right form.
    """
    try:
        _check(content)
    except RecursionError:  # in writing down what was found
        raise ValueError("its JSON is nested too deeply.") from None


def _check(content: Mapping[str, Any]) -> None:
    missing = [key for key in ("labels", "file_ending") if key not in content]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}: add {_example(missing[0])}.")
    _check_file_ending(content["file_ending"])
    channel_names(content)
    channels = content.get("channel_names") or content["modality"]
    unnamed = [key for key, name in channels.items() if not isinstance(name, str)]
    if unnamed:
        raise ValueError(f'channel_names gives "{unnamed[0]}" {channels[unnamed[0]]!r}, which is no text.')
    _check_labels(content["labels"], content.get("regions_class_order"))
    if "dataset" in content:
        _check_listing(content["dataset"])


def check_for_training(content: Mapping[str, Any]) -> None:
    """Check a dataset.json as `check_dataset_json` does, and that channels are normalised by their own names.

    Raises:
        ValueError: says what is wrong, and the right form.
    """
    check_dataset_json(content)
    problem = _order_problem(content)
    if problem:
        raise ValueError(problem)


def check_for_planning(folder: Path) -> None:
    """Check dataset.json of a raw dataset before nnU-Net plans from it, and before any case is read.

    Raises:
        DatasetError: says what is wrong, and the right form.
    """
    content = read_dataset_json(folder)
    problems = planning_problems(folder, content)
    number = content.get("numTraining")
    if not isinstance(number, int) or number < 1:
        problems.append(f'"numTraining" must be the number of training cases, got {json.dumps(number)}.')
    if problems:
        raise DatasetError(f"{folder / _FILE}: {problems[0]}")
    if "dataset" not in content and (hidden := hidden_files(folder / "imagesTr", content["file_ending"])):
        raise DatasetError(hidden)


def planning_problems(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Return what nnU-Net's own commands refuse, or take otherwise than meant, in a dataset.json that is read here.

    Args:
        folder: of the raw dataset.
        content: what its dataset.json holds.
    """
    problems = []
    if (folder / _FILE).read_bytes().startswith(codecs.BOM_UTF8):
        problems.append("it begins with a byte-order mark, which nnU-Net refuses: save it as UTF-8 without one.")
    order = _order_problem(content)
    if order:
        problems.append(order)
    lists = [case for case, entry in content.get("dataset", {}).items() if None in list(entry["images"])]
    if lists:
        problems.append(
            f'"images" of case {lists[0]!r} in "dataset" has null for an absent file, which nnU-Net\'s commands do not '
            'read: write "" in its place.'
        )
    return problems


def renamed_channels(content: Mapping[str, Any]) -> str | None:
    """Return a sentence on names that are not those of dataset.json, because they were not unique there; else None."""
    written, names = written_names(content), channel_names(content)
    if written == names:
        return None
    return f"Channels of one name are told apart by their number: {', '.join(written)} are called {', '.join(names)}."


def label_values(dataset_json: Mapping[str, Any]) -> set[int]:
    """Return all label values: those of regions and the ignore label too."""
    values = dataset_json["labels"].values()
    return {int(value) for entry in values for value in (entry if isinstance(entry, list | tuple) else [entry])}


def _example(key: str) -> str:
    return _LABELS if key == "labels" else '"file_ending": ".nii.gz"'


def _check_file_ending(ending: Any) -> None:
    if not isinstance(ending, str) or not ending.strip("."):
        raise ValueError(f'"file_ending" must be as "file_ending": ".nii.gz", got {json.dumps(ending)}.')
    if not ending.startswith("."):
        raise ValueError(f'"file_ending" must begin with a dot, as "file_ending": ".{ending}", got "{ending}".')
    # It becomes the end of the path of every file that is written.
    if ".." in ending or not ending.isprintable() or set(ending) & set("/\\:"):
        raise ValueError(
            '"file_ending" must be the end of a file name, as "file_ending": ".nii.gz", without "..", slashes, colons '
            f"and control characters, got {json.dumps(ending)}."
        )


def _check_labels(labels: Any, order: Any) -> None:
    if not isinstance(labels, Mapping) or not labels:
        raise ValueError(f'"labels" must be as {_LABELS}, got {json.dumps(labels)}.')
    if all(
        str(name).isdecimal() and isinstance(value, str) and not value.isdecimal() for name, value in labels.items()
    ):
        turned = json.dumps({value: int(name) for name, value in labels.items()}, ensure_ascii=False)
        raise ValueError(f'"labels" has names and numbers the wrong way round: write "labels": {turned}.')
    for name, value in labels.items():
        values = value if isinstance(value, list | tuple) else [value]
        if not values or not all(_is_label(each) for each in values):
            raise ValueError(
                f'"labels" gives each name a whole number from 0, or the numbers of a region, as {_LABELS}; got '
                f'"{name}": {json.dumps(value)}.'
            )
    background = labels.get("background")
    if isinstance(background, list | tuple | None) or int(background) != 0:
        raise ValueError('"labels" must have "background": 0.')
    ignored = labels.get("ignore")
    own = label_values({"labels": {name: value for name, value in labels.items() if name != "ignore"}})
    if ignored is not None and (not isinstance(ignored, int) or ignored != max(own) + 1):
        raise ValueError(f'"ignore" in "labels" must be the highest label, {max(own) + 1}, got {json.dumps(ignored)}.')
    regions = [name for name, value in labels.items() if isinstance(value, list | tuple) and len(value) > 1]
    if not regions and sorted(own) != list(range(len(own))):
        raise ValueError(
            f'"labels" must be numbered 0..{len(own) - 1} without gaps, in dataset.json and in the label maps, got '
            f"{sorted(own)}."
        )
    if regions:
        foreground = [name for name, value in labels.items() if name != "ignore" and value not in (0, [0])]
        count = len(foreground)
        if not isinstance(order, list | tuple) or len(order) != count or not all(_is_label(each) for each in order):
            raise ValueError(
                f'"labels" has regions ({", ".join(regions)}), so that "regions_class_order" must list {count} labels, '
                f"those that nnU-Net writes for {', '.join(foreground)}; got {json.dumps(order)}."
            )


def _is_label(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal()
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == value // 1


def _check_listing(listing: Any) -> None:
    right = f'"dataset" must list at least one case, as {_LISTED}'
    if not isinstance(listing, Mapping) or not listing:
        raise ValueError(f"{right}, got {json.dumps(listing)[:80]}; or leave it out.")
    for case, entry in listing.items():
        problem = name_problem(case)
        if problem:
            raise ValueError(f'"dataset" has the case {case!r}, whose name {problem}: files are called after it.')
        problem = _listed_problem(entry)
        if problem:
            raise ValueError(f"{right}, but case {case!r} {problem}.")


def _listed_problem(entry: Any) -> str | None:
    if not isinstance(entry, Mapping):
        return f"is {json.dumps(entry)[:80]}, not an object in curly brackets"
    label, images = entry.get("label"), entry.get("images")
    if not isinstance(label, str):
        return 'has no "label"' if label is None else f'has the "label" {json.dumps(label)[:80]}, which is no path'
    if not isinstance(images, Mapping | list | tuple):
        given = 'has no "images"' if images is None else f'has the "images" {json.dumps(images)[:80]}'
        return f"{given}; they must be a list of files, or an object by modality"
    for file in images.values() if isinstance(images, Mapping) else images:
        if file is not None and not isinstance(file, str):
            return f'lists {json.dumps(file)[:80]} among its "images", which is no path'
    return None


def _order_problem(content: Mapping[str, Any]) -> str | None:
    """Return why channels in another order matter: nnU-Net normalises by their position, files go by number."""
    from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme

    by_position = list((content.get("channel_names") or content["modality"]).values())
    by_number = written_names(content)
    for channel, (name, other) in enumerate(zip(by_number, by_position, strict=True)):
        if get_normalization_scheme(name) is not get_normalization_scheme(other):
            ascending = json.dumps({str(number): each for number, each in enumerate(by_number)}, ensure_ascii=False)
            return (
                f"channel_names must be in ascending order, because nnU-Net would normalise {name} (channel {channel}) "
                f'as {other}: write "channel_names": {ascending}.'
            )
    return None
