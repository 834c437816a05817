"""Which files nnU-Net finds for training cases, and which plans would take them by their position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_missingmod.cases.description import read_dataset_json
from nnunet_missingmod.host import HOST_PREPROCESSOR
from nnunet_missingmod.modalities import channel_names


def dataset_lacks_files(number: int) -> bool:
    """Return whether a training case of a raw dataset lacks files.

    What cannot be read is none of it: nnU-Net, which reads it next, says what is wrong.
    """
    try:
        folder = Path(str(nnUNet_raw), maybe_convert_to_dataset_name(number))
        dataset_json = read_dataset_json(folder)
        return lack_files(get_filenames_of_train_images_and_targets(str(folder), dataset_json), dataset_json)
    except (OSError, ValueError, RuntimeError, LookupError, AssertionError):
        return False


def planned_without_absence(number: int, plans_name: str, configurations: Sequence[str]) -> list[str]:
    """Return which configurations of a dataset's plans name nnU-Net's preprocessor, which needs all files of a case.

    What cannot be read names none: nnU-Net, which reads it next, says what is wrong.
    """
    try:
        folder = Path(str(nnUNet_preprocessed), maybe_convert_to_dataset_name(number))
        plans = PlansManager(str(folder / f"{plans_name}.json"))
        there = [name for name in configurations if name in plans.available_configurations]
        return [name for name in there if plans.get_configuration(name).preprocessor_name == HOST_PREPROCESSOR]
    except (OSError, ValueError, RuntimeError, LookupError, AssertionError):
        return []


def lack_files(cases: Mapping[str, Mapping[str, Sequence[str]]], dataset_json: Mapping[str, Any]) -> bool:
    """Return whether nnU-Net's list of training cases lacks files; one file of all channels (RGB) is whole.

    Such a file has the suffix of the first channel; where dataset.json lists it, any name, unless all names end as
    those of channels do.

    Args:
        cases: {case: {"images": files}}, as nnU-Net's ``get_filenames_of_train_images_and_targets`` returns.
        dataset_json: contents of the dataset's dataset.json.
    """
    names = channel_names(dataset_json)
    files = [[Path(file) for file in case["images"]] for case in cases.values()]
    is_listed = "dataset" in dataset_json  # where "" or a name stands for a file, and files have any name
    if all(len(of_case) == len(names) for of_case in files):
        return is_listed and not all(file.is_file() for of_case in files for file in of_case)
    first, *others = (f"_{channel:04d}{dataset_json['file_ending']}" for channel in range(len(names)))
    if not all(len(of_case) == 1 for of_case in files):
        return True
    alone = [of_case[0] for of_case in files]
    if is_listed:  # where all end as channels do, they are channels, if not all the first
        are_channels = all(file.name.endswith((first, *others)) for file in alone)
        return (are_channels and not all(file.name.endswith(first) for file in alone)) or not all(
            map(Path.is_file, alone)
        )
    return not all(file.name.endswith(first) for file in alone)
