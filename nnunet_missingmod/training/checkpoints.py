"""Checkpoints: read without executing code in them, and the trainer that reads and saves them.

Every trainer of this package saves and continues by `CheckpointTrainer`; prediction and teachers use `read_checkpoint`.
"""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.plans_block import BLOCK
from nnunet_missingmod.sharing.manifest import WEIGHTS
from nnunet_missingmod.training.checksums import ChecksumError, SummedFile, check_sums
from nnunet_missingmod.training.safe_checkpoint import read_safe_checkpoint
from nnunet_missingmod.training.saving import CHECKPOINT_NAMES, remove_leftovers, saved_completely, staging_folder
from nnunet_missingmod.training.weights import WeightsError, check_finite

# The files that nnU-Net writes into the model folder when a training starts or continues; prediction needs them.
_MODEL_FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json")

# numpy 1 and numpy 2 write the functions that rebuild numbers and arrays under different names; a checkpoint may be
# of either.
_REBUILDING: dict[str, Any] = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
# The numpy types of the logged numbers. nnU-Net's checkpoints hold them beside tensors and plain containers.
_ALLOWED_GLOBALS: list[Any] = [
    np.dtype,
    np.ndarray,
    *(
        (rebuild, f"{module}.{name}")
        for name, rebuild in _REBUILDING.items()
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    ),
    *(type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)),
]


# The part with the values that are no tensors, and with how tensors are made of the other parts.
_PICKLED = "*/data.pkl"
# What zipfile raises where bits of its directory are wrong.
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete, not nnU-Net's, or contains code; or its trainer is not installed."""


class TornCheckpointError(CheckpointError):
    """A checkpoint is missing or incomplete: its saving was interrupted, or the disk lost a part of it."""


def read_checkpoint(file: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return what nnU-Net saved in ``file``, its tensors on the CPU.

    Its checksums are verified, because torch loads damaged data without an error: those of the pickled values before
    these are looked at, and those of tensors as they are read, so that they are read once.

    Args:
        file: in torch's zip format, in which nnU-Net saves; of a shared model, safetensors are in its place.
        mapped: leave the tensors in the file; use it to read the other values only.

    Raises:
        TornCheckpointError: the file is missing or incomplete.
        CheckpointError: the file is complete, but is not a checkpoint of nnU-Net or contains code; or, unless it is
            mapped, its weights are not all finite.
    """
    if file.with_suffix(WEIGHTS).is_file():
        checkpoint = _read_safe(file)
    elif mapped:
        _check_sums(file)
        checkpoint = _read_pickled(file)
    else:
        checkpoint = _read_summed(file)
    _check_complete(checkpoint, file)
    if not mapped:
        try:
            check_finite(checkpoint["network_weights"])
        except WeightsError as error:
            raise CheckpointError(f"{file}: {error}") from error
    return dict(checkpoint)


def _read_safe(file: Path) -> dict[str, Any]:
    safe = file.with_suffix(WEIGHTS)
    if file != safe and file.exists():
        raise CheckpointError(f"{file} and {safe.name} are both there: remove the one that is not meant.")
    try:
        return read_safe_checkpoint(safe)
    except ValueError as error:
        raise CheckpointError(f"{error} Get the shared model again.") from error


def _check_complete(checkpoint: Mapping[str, Any], file: Path) -> None:
    missing = {"network_weights", "trainer_name", "init_args"} - set(checkpoint)
    if missing:
        raise CheckpointError(f"{file} is not a checkpoint of nnU-Net: it has no {', '.join(sorted(missing))}.")


def _check_sums(file: Path, *, of: str = "*") -> None:
    with _torn_if_damaged(file):
        check_sums(file, of=of)


@contextmanager
def _torn_if_damaged(file: Path) -> Iterator[None]:
    """Say of a file that it is damaged where its sums are wrong, or that it cannot be read where zipfile cannot."""
    try:
        yield
    except CheckpointError:
        raise
    except ChecksumError as error:
        raise TornCheckpointError(f"{file} is damaged: {error}.") from error
    except _UNREADABLE as error:
        raise TornCheckpointError(
            f"{file} cannot be read, perhaps its training was killed while saving: {error}."
        ) from error


def _read_summed(file: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, read once, its sums compared with what is returned."""
    _check_sums(file, of=_PICKLED)
    with _torn_if_damaged(file), SummedFile(file) as summed:
        try:
            checkpoint = _read_pickled(file, summed)
        except CheckpointError:
            check_sums(file)  # where it is damaged, that is why
            raise
        summed.check()
    return checkpoint


def _read_pickled(file: Path, summed: SummedFile | None = None) -> dict[str, Any]:
    """Return what a checkpoint holds; without a file that compares sums its tensors are left in the file."""
    try:
        with torch.serialization.safe_globals(_ALLOWED_GLOBALS):
            return torch.load(summed or file, map_location="cpu", weights_only=True, mmap=summed is None)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if "PytorchStreamReader" in str(error):
            raise TornCheckpointError(f"{file} is damaged: {error}") from error
        # torch's own message ends with advice on how to execute the code anyway.
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]}" if named else error
        raise CheckpointError(f"{file} holds something else than weights, and was not executed: {reason}.") from error


def is_ours(checkpoint: Mapping[str, Any], configuration: Mapping[str, Any]) -> bool:
    """Return whether a trainer of this package, or one derived from it, wrote a checkpoint.

    A name of ours does not tell: other packages have trainers of the same names. These trainers write their choices,
    and so does every other one that is trained with plans which hold some: of other names the class must have choices.

    Args:
        checkpoint: as ``read_checkpoint`` returns it.
        configuration: the model's configuration in its plans.json, with all that it inherits.
    """
    init_args = checkpoint["init_args"]
    saved = init_args.get("plans", {}).get("configurations", {}).get(init_args.get("configuration"), {})
    name = checkpoint["trainer_name"]
    if name == nnUNetTrainer.__name__ or not (BLOCK in configuration or BLOCK in saved):
        return False
    try:
        return name in CLASS_TABLE or hasattr(find_trainer(name), "block_keys")
    except CheckpointError:  # it is said where the network is built
        return True


PRETRAINED = "pretrained_encoder.pth"
"""What a training starts from, in the fold's folder of a pretraining."""
# What to do with a pretrained model.
START_FROM = f"Train from it with nnUNetv2_train ... -pretrained_weights FOLD/{PRETRAINED}."


def find_trainer(name: str, *, ours: bool = True) -> Any:
    """Return the trainer class of this name: from this package, nnU-Net's own, or one that nnU-Net's search finds.

    Args:
        name: as in the checkpoint.
        ours: see ``is_ours``. Another package's trainer that has the name of one of ours is taken for nnU-Net's own.

    Raises:
        CheckpointError: it is not installed, or only pretrains.
    """
    if name == nnUNetTrainer.__name__ or (name in CLASS_TABLE and not ours):
        return nnUNetTrainer
    # nnU-Net's search imports every module that it passes, and finds this package's trainers only if it is attached.
    try:
        ours_found = getattr(import_module(CLASS_TABLE[name]), name) if name in CLASS_TABLE else None
        found: Any = ours_found or recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise CheckpointError(f"The model was trained by {name}, which is not installed: {error}") from error
    if not getattr(found, "segments", True):
        raise CheckpointError(
            f"{name} only pretrains: the model reconstructs images and segments nothing. {START_FROM}"
        )
    return found


class CheckpointChoice(NamedTuple):
    """The checkpoint from which a training continues.

    Attributes:
        file: the newest readable one.
        epochs: the number of epochs that it was trained for.
        rejected: one message for each checkpoint of the folder that was found incomplete.
        checkpoint: its content, whose tensors are left in the file.
    """

    file: Path
    epochs: int
    rejected: list[str]
    checkpoint: dict[str, Any]


def newest_readable(folder: Path) -> CheckpointChoice:
    """Return the readable checkpoint of a fold's folder with the most epochs; of equal ones, the one nnU-Net would use.

    Tensors are read of that one alone, once, to check them.

    Raises:
        CheckpointError: none is readable, or a file is complete but not a checkpoint of nnU-Net.
    """
    rejected = []
    found = []
    for file in (folder / name for name in CHECKPOINT_NAMES):
        if file.exists():
            try:
                found.append((file, _read_values(file)))
            except TornCheckpointError as error:
                rejected.append(str(error))
    for file, checkpoint in sorted(found, key=lambda one: -int(one[1]["current_epoch"])):
        try:
            _check_sums(file)
        except TornCheckpointError as error:
            rejected.append(str(error))
        else:
            return CheckpointChoice(file, int(checkpoint["current_epoch"]), rejected, checkpoint)
    raise CheckpointError(
        f"No checkpoint in {folder} can be read: {' '.join(rejected) or 'there is none.'} Put a copy of one "
        "there, or train anew without --c."
    )


def _read_values(file: Path) -> dict[str, Any]:
    """Return what a checkpoint holds beside tensors, which are left in the file and not checked."""
    _check_sums(file, of=_PICKLED)
    try:
        checkpoint = _read_pickled(file)
    except CheckpointError:
        _check_sums(file)  # where it is damaged, that is why
        raise
    _check_complete(checkpoint, file)
    return checkpoint


class CheckpointTrainer(nnUNetTrainer):
    """nnU-Net's trainer that never replaces a complete file by an incomplete one; ``--c`` skips incomplete files.

    Attributes:
        segments: whether the model that is trained segments images.
    """

    output_folder_base: str
    segments = True

    def save_checkpoint(self, filename: str) -> None:
        """Save as nnU-Net does, but give the file its final name only when all of it is on the disk.

        Raises:
            CheckpointNotSavedError: it could not be saved; a previous file is unchanged.
        """
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)  # writes nothing
            return
        with saved_completely(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Load as nnU-Net does; with ``--c``, load the newest complete checkpoint of the folder.

        Raises:
            CheckpointError: no checkpoint can be read, or a file is complete but not a checkpoint of nnU-Net.
            ValueError: see ``_check_choices``.
        """
        file = Path(filename_or_checkpoint)
        # --val and --val_best validate one particular checkpoint, so there no other one replaces it.
        if self.logger.resume and self.dataloader_train is None:
            choice = self._newest_readable(file)
            file, checkpoint = choice.file, choice.checkpoint
        else:
            checkpoint = read_checkpoint(file, mapped=True)
        self._check_choices(checkpoint, file)
        super().load_checkpoint(str(file))

    def _check_choices(self, checkpoint: dict[str, Any], file: Path) -> None:
        """Check that a checkpoint comes from a training with the same choices; for subclasses to override.

        Raises:
            ValueError: it does not; the message names the differences.
        """

    def _newest_readable(self, requested: Path) -> CheckpointChoice:
        choice = newest_readable(requested.parent)
        for reason in choice.rejected:
            self.print_to_log_file(f"WARNING: {reason}")
        if choice.file != requested:
            self.print_to_log_file(
                f"Continuing after epoch {choice.epochs - 1} from {choice.file.name}, the newest checkpoint that can "
                f"be read, and not from {requested.name}."
            )
        return choice

    def on_train_start(self) -> None:
        """Start as nnU-Net does, but replace plans.json and the like only when they are complete."""
        folder: str = self.output_folder_base
        if self.local_rank == 0:
            remove_leftovers(Path(self.output_folder))
        with staging_folder(Path(folder), _MODEL_FILES, rank=self.local_rank) as staging:
            self.output_folder_base = str(staging)
            try:
                super().on_train_start()
            finally:
                self.output_folder_base = folder
