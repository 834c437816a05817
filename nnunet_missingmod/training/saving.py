"""Writes checkpoints and the files beside them completely or not at all, also on a full disk or under a kill."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnunet_missingmod.storage import replaced_when_complete

# nnU-Net's names, in the order in which its --c looks for them.
CHECKPOINT_NAMES = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")


class CheckpointNotSavedError(OSError):
    """A checkpoint could not be saved; the message names the file, the free disk space, and the fix."""


@contextlib.contextmanager
def saved_completely(file: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces ``file`` when the block ends and all of it is on the disk.

    Raises:
        CheckpointNotSavedError: it could not be written; ``file`` is unchanged.
    """
    written = free = 0
    try:
        with replaced_when_complete(file) as temporary:
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
    """Remove the temporary checkpoints that killed trainings left in a fold's folder, and return their paths."""
    leftovers = [file for name in CHECKPOINT_NAMES for file in folder.glob(f".*-{name}")]
    for file in leftovers:
        file.unlink(missing_ok=True)
    return leftovers


@contextlib.contextmanager
def staging_folder(folder: Path, names: Sequence[str], *, rank: int = 0) -> Iterator[Path]:
    """Yield a new folder inside of ``folder`` to write to; if the block ends without an error, its files move up.

    If the disk is full, the files that ``folder`` had before stay unchanged. Each process of a distributed training has
    its own staging folder. If a process is killed, its next start removes the folder that it left.

    Args:
        folder: gets the files.
        names: the files to move; the block must write all of them.
        rank: of the process in a distributed training.
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
    """Wait until a file's content is on the disk."""
    with file.open("r+b") as stream:
        os.fsync(stream.fileno())


def _flush_names(folder: Path) -> None:
    """Wait until the file names of a folder are on the disk, if the file system supports that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
