"""The checksums of a file in torch's zip format, compared before it is loaded, or with what is loaded while it is.

``checkpoints`` reads by these, because torch loads damaged data without an error.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

_PIECE = 1 << 20  # bytes
_HEADER = struct.Struct("<26xHH")  # of a part in the file; the lengths of the name and of the padding that follow it


class ChecksumError(ValueError):
    """A part's checksum is wrong, or its header is not what the file's directory says."""

    def __init__(self, part: str) -> None:
        super().__init__(f"the checksum of {part} in it is wrong")


def check_sums(file: Path, *, of: str = "*") -> None:
    """Read those parts of a file whose names match ``of``, and compare their sums.

    Raises:
        ChecksumError: one is wrong.
        OSError, zipfile.BadZipFile and others: what zipfile raises where it finds no file, or no parts in it.
    """
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            if fnmatch(part.filename, of):
                _read_through(archive, part)


def _read_through(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    try:
        with archive.open(part) as stream:
            while stream.read(_PIECE):
                pass
    except zipfile.BadZipFile as error:
        raise ChecksumError(part.filename) from error


class SummedFile(io.FileIO):
    """A file for ``torch.load`` that sums each part as it hands it out; ``check`` compares.

    Torch reads a tensor by one call, into the memory in which it stays, where its bytes are summed.

    Args:
        file: its path.

    Raises:
        ChecksumError: a part's header is wrong.
        OSError, zipfile.BadZipFile and others: what zipfile raises where it finds no file, or no parts in it.
    """

    def __init__(self, file: Path) -> None:
        self._path = file
        with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            self._parts = {_begin_of(part, archive, stream): part for part in archive.infolist()}
        self._sums: dict[int, int] = {}
        super().__init__(file)

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer, and note its sum if it is a whole part; return how many bytes could be read.

        An error of the disk is left to ``read``, to which torch turns when it got too little: raised here, torch would
        lose it in one of its own that does not tell what is wrong.
        """
        begin, view, filled = self.tell(), memoryview(buffer), 0
        with contextlib.suppress(OSError):
            while filled < len(view) and (count := super().readinto(view[filled:])):  # a system reads some 2 GB at once
                filled += count
        part = self._parts.get(begin)
        if part is not None and part.compress_type == zipfile.ZIP_STORED and part.file_size == filled:
            self._sums[begin] = zlib.crc32(view[:filled])
        return filled

    def check(self) -> None:
        """Compare the sums of what was handed out, and read the parts that were not, or in pieces, to compare theirs.

        Raises:
            ChecksumError: one is wrong.
        """
        with zipfile.ZipFile(self._path) as archive:
            for begin, part in self._parts.items():
                if begin not in self._sums:
                    _read_through(archive, part)
                elif self._sums[begin] != part.CRC:
                    raise ChecksumError(part.filename)


def _begin_of(part: zipfile.ZipInfo, archive: zipfile.ZipFile, stream: IO[bytes]) -> int:
    """Return where in the file a part's content begins."""
    try:
        archive.open(part).close()  # which compares its header with the directory
    except zipfile.BadZipFile as error:
        raise ChecksumError(part.filename) from error
    stream.seek(part.header_offset)
    return part.header_offset + _HEADER.size + sum(_HEADER.unpack(stream.read(_HEADER.size)))
