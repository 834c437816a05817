"""Decompresses a ``.gz`` file once for all who look at it: the check that it is whole, then its reader."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def decompression() -> Iterator[None]:
    """Say what is wrong with a ``.gz`` file that is decompressed in the block.

    Raises:
        ValueError: it is truncated or damaged; the message does not name it.
    """
    try:
        yield
    except EOFError as error:
        raise ValueError("the file is truncated: its compressed data end too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"the file is damaged: {error}") from error


@contextlib.contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """Yield a temporary decompressed copy of a ``.gz`` file, named as it without the ending; any other file as it is.

    Where there is no room for a copy, the file itself is yielded. What is raised in the block names the file.

    Raises:
        ValueError: it is truncated or its checksum is wrong; the message does not name it.
    """
    with contextlib.ExitStack() as stack:
        plain = _copy(file, stack) if file.suffix.lower() == ".gz" else file
        try:
            yield plain
        except Exception as error:  # readers raise whatever their libraries raise
            if plain == file or str(plain) not in str(error):
                raise
            raise ValueError(str(error).replace(str(plain), str(file))) from error


def _copy(file: Path, stack: contextlib.ExitStack) -> Path:
    try:
        with contextlib.ExitStack() as until_complete, decompression():
            folder = until_complete.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            copy = Path(folder, file.stem)
            with gzip.open(file) as packed, copy.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
            stack.push(until_complete.pop_all())
    except OSError:  # a full disk, no folder for temporary files; or what the file's reader will say
        return file
    return copy
