"""Which files nnU-Net finds for training cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_missingmod.cases.description import read_dataset_json
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


def lack_files(cases: Mapping[str, Mapping[str, Sequence[str]]], dataset_json: Mapping[str, Any]) -> bool:
    """Return whether nnU-Net's list of training cases lacks files; a first file for all channels (RGB) is whole.

    Args:
        cases: {case: {"images": files}}, as nnU-Net's ``get_filenames_of_train_images_and_targets`` returns.
        dataset_json: contents of the dataset's dataset.json.
    """
    files = [[Path(file) for file in case["images"]] for case in cases.values()]
    is_listed = "dataset" in dataset_json  # where "" or a name stands for a file, and files have any name
    if all(len(of_case) == len(channel_names(dataset_json)) for of_case in files):
        return is_listed and not all(file.is_file() for of_case in files for file in of_case)
    first = f"_0000{dataset_json['file_ending']}"
    return not all(len(of_case) == 1 and (is_listed or of_case[0].name.endswith(first)) for of_case in files)
