"""The checkpoints in a fold's folder: saved whole or not at all, and the newest that is whole is found.

``checkpoint_trainer`` puts these functions around nnU-Net's own saving and loading.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nnunet_missingmod.evaluation.atomic_file import replacing
from nnunet_missingmod.training.checkpoint_file import CheckpointError, TornCheckpointError, read_checkpoint

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
