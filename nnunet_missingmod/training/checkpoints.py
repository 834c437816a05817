"""Checkpoints: read without executing them, saved whole or not at all, and a trainer that can be cut off."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.storage import replacing

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


# nnU-Net's names, in the order in which its --c looks for them.
CHECKPOINT_NAMES = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")


class CheckpointNotSavedError(OSError):
    """A checkpoint could not be saved; the message names the file, the space that is left, and what to do."""


class Choice(NamedTuple):
    """Which checkpoint a training goes on from.

    Attributes:
        file: the newest that is readable.
        epochs: how many epochs it has behind it.
        passed_over: why each of the others that are there and not whole was not it.
    """

    file: Path
    epochs: int
    passed_over: list[str]


def newest_readable(folder: Path) -> Choice:
    """Return the checkpoint of a fold's folder with the most epochs behind it; of equals, the one nnU-Net would take.

    Raises:
        CheckpointError: none is readable, or one holds something else than a checkpoint; no other is taken silently.
    """
    readable: list[tuple[int, Path]] = []
    passed_over = []
    for file in (folder / name for name in CHECKPOINT_NAMES):
        if not file.exists():
            continue
        try:
            readable.append((int(read_checkpoint(file, mapped=True)["current_epoch"]), file))
        except TornCheckpointError as error:
            passed_over.append(str(error))
    if not readable:
        raise CheckpointError(
            f"No checkpoint in {folder} can be read: {' '.join(passed_over) or 'there is none.'} Put a copy of one "
            "there, or train anew without --c."
        )
    epochs, file = max(readable, key=lambda found: found[0])
    return Choice(file, epochs, passed_over)


@contextlib.contextmanager
def saving(file: Path) -> Iterator[Path]:
    """Yield a temporary path; what is written to it takes the place of ``file`` once it is on the disk as a whole.

    Raises:
        CheckpointNotSavedError: it could not be written; ``file`` is as it was.
    """
    written = free = 0
    try:
        with replacing(file) as temporary:
            try:
                yield temporary
                _flush(temporary)
            finally:
                written = temporary.stat().st_size if temporary.exists() else 0
                free = shutil.disk_usage(file.parent).free
        _flush_names(file.parent)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as either
        kept = f"The previous {file.name} is as it was" if file.exists() else f"There is no previous {file.name}"
        raise CheckpointNotSavedError(
            f"{file} could not be saved: {error}. {_megabytes(written)} had been written when {file.parent} "
            f"had {_megabytes(free)} free. {kept}. Make room, then continue with --c."
        ) from error


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the temporary checkpoints that killed trainings have left in a fold's folder, and return them."""
    leftovers = [file for name in CHECKPOINT_NAMES for file in folder.glob(f".*-{name}")]
    for file in leftovers:
        file.unlink(missing_ok=True)
    return leftovers


@contextlib.contextmanager
def staged(folder: Path, names: Sequence[str], *, rank: int = 0) -> Iterator[Path]:
    """Yield a new folder within ``folder``; the named files written there move up once the block ends without an error.

    A full disk then leaves the ones that were there. Each process of a distributed training has a folder of its own;
    what a kill leaves of it is removed the next time.
    """
    staging = folder / f".starting-{rank}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for name in names:
            _flush(staging / name)
            os.replace(staging / name, folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _flush(file: Path) -> None:
    """Wait until a file is on the disk."""
    with file.open("r+b") as stream:
        os.fsync(stream.fileno())


def _flush_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


# What nnU-Net writes into the model folder when a training starts or goes on; prediction needs them.
_MODEL_FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json")


class CheckpointTrainer(nnUNetTrainer):
    """nnU-Net's trainer; nothing half-written takes a good file's place, and ``--c`` finds what is whole."""

    output_folder_base: str

    def save_checkpoint(self, filename: str) -> None:
        """Save as nnU-Net does, but under the final name only once the whole file is on the disk.

        Raises:
            CheckpointNotSavedError: it could not be saved; a file that was there is as it was.
        """
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)  # which writes nothing
            return
        with saving(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Load as nnU-Net does; with ``--c``, from the newest checkpoint of the folder that is whole.

        Raises:
            CheckpointError: no checkpoint can be read, or one holds something else than a checkpoint.
            ValueError: see ``_check_choices``.
        """
        file = Path(filename_or_checkpoint)
        # --val and --val_best name the checkpoint that is to be validated: no other one may stand in.
        if self.logger.resume and self.dataloader_train is None:
            file = self._newest_readable(file)
        self._check_choices(read_checkpoint(file, mapped=True), file)
        super().load_checkpoint(str(file))

    def _check_choices(self, checkpoint: dict[str, Any], file: Path) -> None:
        """Refuse to go on from a checkpoint whose training was another one.

        Raises:
            ValueError: names the differences.
        """

    def _newest_readable(self, asked_for: Path) -> Path:
        choice = newest_readable(asked_for.parent)
        for reason in choice.passed_over:
            self.print_to_log_file(f"WARNING: {reason}")
        if choice.file != asked_for:
            self.print_to_log_file(
                f"Continuing after epoch {choice.epochs - 1} from {choice.file.name}, the newest checkpoint that can "
                f"be read, and not from {asked_for.name}."
            )
        return choice.file

    def on_train_start(self) -> None:
        """Start as nnU-Net does; plans.json and its like get their names once they are whole."""
        folder: str = self.output_folder_base
        if self.local_rank == 0:
            remove_leftovers(Path(self.output_folder))
        with staged(Path(folder), _MODEL_FILES, rank=self.local_rank) as staging:
            self.output_folder_base = str(staging)
            try:
                super().on_train_start()
            finally:
                self.output_folder_base = folder
