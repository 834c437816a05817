"""Reading a finished model's checkpoint, stock nnU-Net's included, without executing what it holds."""

from __future__ import annotations

import pickle
import re
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_missingmod.host import CLASS_TABLE

# What nnU-Net's checkpoints hold beside tensors and plain containers: logged numbers.
_ALLOWED: list[Any] = [
    np.dtype,
    np.ndarray,
    np.float64(0).__reduce__()[0],
    np.zeros(0).__reduce__()[0],
    *(type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)),
]


class CheckpointError(ValueError):
    """A checkpoint is missing, torn, no checkpoint of nnU-Net, or holds code; or its trainer is not installed."""


class TornCheckpointError(CheckpointError):
    """A checkpoint is not whole: its saving was cut off, or the disk lost a part of it."""


def read_checkpoint(file: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return what nnU-Net saved in ``file``, its tensors on the CPU.

    The file's checksums are compared first: torch itself hands out flipped bits without a word.

    Args:
        file: of torch's zip format, in which nnU-Net saves.
        mapped: leave the tensors in the file, for a look at what else is in it.

    Raises:
        TornCheckpointError: the file is not there, or not whole.
        CheckpointError: it is whole, but holds something else than the weights of a training.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise TornCheckpointError(
            f"{file} cannot be read, perhaps its training was killed while saving: {error}."
        ) from error
    if damaged is not None:
        raise TornCheckpointError(f"{file} is damaged: the checksum of {damaged} in it is wrong.")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        # torch's own message goes on with how to execute it all the same.
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]}" if named else error
        raise CheckpointError(f"{file} holds something else than weights, and was not executed: {reason}.") from error
    missing = {"network_weights", "trainer_name", "init_args"} - set(checkpoint)
    if missing:
        raise CheckpointError(f"{file} is not a checkpoint of nnU-Net: it has no {', '.join(sorted(missing))}.")
    return dict(checkpoint)


def find_trainer(name: str) -> Any:
    """Return the trainer class of this name: this package's, nnU-Net's, or one that nnU-Net's search finds.

    Raises:
        CheckpointError: it is not installed.
    """
    # nnU-Net's search imports every module on its way, and sees ours only where they are attached.
    if name in CLASS_TABLE:
        return getattr(import_module(CLASS_TABLE[name]), name)
    if name == nnUNetTrainer.__name__:
        return nnUNetTrainer
    try:
        return recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise CheckpointError(f"The model was trained by {name}, which is not installed: {error}") from error
