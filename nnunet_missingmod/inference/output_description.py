"""plans.json and dataset.json beside predictions, for nnU-Net's other commands."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.inference.batch import STATUS_FILE
from nnunet_missingmod.inference.model_folder import ModelFolder
from nnunet_missingmod.storage import cannot_write, moved_when_complete, read_json_object, write_text


def write_description(folder: Path, model: ModelFolder, *, overwrite: bool = False) -> None:
    """Write what nnU-Net's other commands expect beside predictions: plans.json and dataset.json.

    Raises:
        UsageError: they cannot be written, or others are there that lie beside no predictions of this command.
    """
    described = {"dataset.json": model.dataset_json, "plans.json": model.plans}
    for name, content in described.items():
        file = folder / name
        if file.is_dir():
            raise UsageError(f"Cannot write {file}: it is a folder. Choose another -o, or remove it.")
        if file.exists() and not (overwrite or (folder / STATUS_FILE).exists()) and not _holds(file, content):
            raise UsageError(f"{file} is there and not this model's: choose another -o, or replace it (--overwrite).")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with moved_when_complete(folder) as temporary:
            for name, content in described.items():
                write_text(temporary / name, json.dumps(content, indent=4))
    except OSError as error:
        with contextlib.suppress(OSError):
            for place in made:
                place.rmdir()
        raise cannot_write(folder, error) from error


def _holds(file: Path, content: Mapping[str, Any]) -> bool:
    try:
        return read_json_object(file) == content
    except ValueError:
        return False
