"""What readers do not say about an image file: whether it is whole, and whether its voxels are finite real numbers.

SimpleITK reads the missing part of a truncated .nii, .nii.gz or .gipl as zeros, NaN and infinite voxels of a NIfTI file
as zeros too, and damaged compressed .mha and .nrrd files as whatever comes out, and says nothing; tifffile returns the
pages that are left. The other formats' readers raise by themselves and pass NaN on.

Complex voxels lose their imaginary part in every reader, and a file name that is not UTF-8 ends the whole process in
SimpleITK.

A changed voxel in a file without compression has no checksum to betray it, in any format.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import get_ident
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.cases import pictures
from nnunet_missingmod.cases.unpacking import decompression

# GIPL voxel types (the format's own numbers) and their size in bytes.
_GIPL_VOXEL_BYTES = {7: 1, 8: 1, 15: 2, 16: 2, 31: 4, 32: 4, 64: 4, 65: 8}
_GIPL_HEADER_BYTES = 256

# suffix: (what ends the header, the header line of a file whose data follow compressed)
_COMPRESSED = {
    ".mha": (b"ElementDataFile = LOCAL\n", re.compile(rb"^CompressedData\s*=\s*True", re.MULTILINE | re.IGNORECASE)),
    ".nrrd": (b"\n\n", re.compile(rb"^encoding:\s*gz", re.MULTILINE | re.IGNORECASE)),
}
_END_OF_NRRD_HEADER = re.compile(rb"\r?\n\r?\n")
_NRRD_DATA_FILE = re.compile(rb"^data ?file:(.*)$", re.MULTILINE | re.IGNORECASE)
_MHA_DATA_FILE = re.compile(rb"ElementDataFile[ \t]*[=:](.*)$", re.MULTILINE)  # the last line of the header
_ZLIB_OR_GZIP = 32  # as zlib's manual has it
_GZIP_MAGIC = b"\x1f\x8b"

_SIZED_AXES = 4  # space and time
_NIFTI_HEADER_BYTES = 348  # of NIfTI-1; that of NIfTI-2 is longer
# NIfTI's own numbers of the floating point data types.
_NIFTI_FLOATS = {16: "f4", 64: "f8"}
_NIFTI_NO_NUMBERS = {32: "complex", 1792: "complex", 2048: "complex", 128: "RGB", 2304: "RGBA"}
# The formats beside NIfTI that have complex voxels and say so; ITK reads their headers.
_COMPLEX_FORMATS = (".nrrd", ".nhdr")


class HeaderError(ValueError):
    """A header that contradicts itself, or that no image can have, though readers take it: ``headers`` decides."""


class _VoxelData(NamedTuple):
    """Where a file's voxels are; ``dtype`` is given for floating point only."""

    offset: int
    num_bytes: int
    dtype: str | None


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed and stored; bytes that are not UTF-8 are written as ``\\xff``."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def check_name(path: str | os.PathLike[str]) -> None:
    """Check that readers can be given a path: SimpleITK ends the process over one that is not UTF-8.

    In an ASCII locale, Python takes every other letter for such bytes.

    Raises:
        ValueError: it is not UTF-8.
    """
    if not is_readable_name(path):
        raise ValueError(
            "its path is not UTF-8 in this locale: rename it to plain letters, or set PYTHONUTF8=1 if it is UTF-8"
        )


def is_readable_name(path: str | os.PathLike[str]) -> bool:
    """Return whether a path can be given to readers, see `check_name`."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_whole(file: Path) -> None:
    """Check that a file holds all the data that it announces.

    Raises:
        ValueError: the file is a folder, empty, truncated, its checksum is wrong, or its header impossible; the message
            begins with the file.
        OSError: the file cannot be read.
    """
    try:
        _whole_voxels(file)
    except ValueError as error:
        subject, is_said, rest = str(error).partition("the file ")
        raise ValueError(f"{file} {rest}." if is_said and not subject else f"{file}: {error}.") from error


def count_hidden_nonfinite(file: Path, *, strict: bool = True) -> int:
    """Check that the file holds all the data it announces, and count the NaN and infinite voxels of a NIfTI file.

    Formats whose readers report both by themselves are not looked at, and 0 is returned.

    Args:
        strict: whether a header is refused that readers take for another one.

    Raises:
        ValueError: as ``check_whole``, but the message does not name the file.
        OSError: the file cannot be read.
    """
    content, voxels = _whole_voxels(file, strict=strict)
    if voxels is None or voxels.dtype is None:
        return 0
    count = voxels.num_bytes // np.dtype(voxels.dtype).itemsize
    values = np.frombuffer(content, dtype=voxels.dtype, count=count, offset=voxels.offset)
    return int(count - np.isfinite(values).sum())


def checked_header(file: Path, *, strict: bool) -> tuple[int, list[str]]:
    """Return what `count_hidden_nonfinite` does, and what was overlooked in the header.

    Raises:
        HeaderError: ``strict`` is set and the header contradicts itself. Else as ``count_hidden_nonfinite``.
    """
    try:
        return count_hidden_nonfinite(file), []
    except HeaderError as error:
        overlooked = as_read(error, strict=strict)
        return count_hidden_nonfinite(file, strict=False), [overlooked]


def as_read(error: HeaderError, *, strict: bool) -> str:
    """Return what is recorded of a header that is taken as the reader takes it.

    Raises:
        HeaderError: ``strict`` is set; the message adds the fix.
    """
    if strict:
        raise HeaderError(
            f'{error}. Correct the header, or take it as the reader does: "headers": "as_read" in the plans\' '
            '"missingmod" block (predict: --headers as_read).'
        ) from error
    return f"{error}; it was taken as the reader takes it"


def _whole_voxels(file: Path, *, strict: bool = True) -> tuple[bytes, _VoxelData | None]:
    """The content of a file that was found whole, and where its voxels are; None if its readers see to both."""
    check_name(file)
    if file.is_dir():
        raise ValueError("it is a folder")
    if not stat.S_ISREG((found := file.stat()).st_mode):
        raise ValueError("it is a device or a pipe, not a file")
    if found.st_size == 0:
        raise ValueError("the file is empty (0 bytes)")
    suffix = file.suffix.lower()
    if suffix in pictures.ENDINGS:
        pictures.check(file)
    content = file.read_bytes() if suffix in _COMPRESSED else b""
    if content:
        _check_own_voxels(content, suffix)
    if suffix in _COMPLEX_FORMATS:
        _check_real(file)
    if content:
        _check_compressed(content, *_COMPRESSED[suffix])
        return b"", None
    if suffix == ".gz":
        content, suffix = _gunzipped(file), Path(file.stem).suffix.lower()
    elif suffix in (".nii", ".gipl"):
        content = file.read_bytes()
    else:
        return b"", None
    voxels = None
    if suffix == ".nii":
        voxels = _nifti_voxels(content, strict=strict)
    elif suffix == ".gipl":
        voxels = _gipl_voxels(content)
    if voxels is not None and len(content) < (announced := voxels.offset + voxels.num_bytes):
        raise ValueError(f"the file is truncated: its header announces {announced} bytes, {len(content)} are there")
    return content, voxels


@contextlib.contextmanager
def tiff_complaints() -> Iterator[list[str]]:
    """Collect what tifffile logs while this thread reads: that is all it does about a truncated multi-page file."""
    complaints: list[str] = []
    here = get_ident()

    def collect(record: logging.LogRecord) -> None:
        if record.thread == here:  # other threads read other cases' files
            complaints.append(record.getMessage())

    handler = logging.Handler(logging.WARNING)
    handler.emit = collect  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield complaints
    finally:
        logger.removeHandler(handler)


def _gunzipped(file: Path) -> bytes:
    with decompression(), gzip.open(file) as stream:
        return stream.read()


def _check_own_voxels(content: bytes, suffix: str) -> None:
    # Readers open whatever file of this machine a header names, be it a stranger's header.
    if suffix == ".nrrd":
        named = _NRRD_DATA_FILE.search(_END_OF_NRRD_HEADER.split(content, maxsplit=1)[0])
    else:
        named = _MHA_DATA_FILE.search(content)
    other = named[1].strip().decode(errors="backslashreplace") if named else ""
    if other and not (suffix == ".mha" and other.upper() == "LOCAL"):
        raise ValueError(f"its voxels lie in another file, {other}: save it as one file, since no other is read")


def _check_compressed(content: bytes, end_of_header: bytes, says_compressed: re.Pattern[bytes]) -> None:
    # SimpleITK inflates as far as it can get and does not look at the checksum.
    header, mark, data = content.partition(end_of_header)
    if not mark or not data or not says_compressed.search(header):
        return
    inflater = zlib.decompressobj(zlib.MAX_WBITS | _ZLIB_OR_GZIP)
    try:
        inflater.decompress(data)
    except zlib.error as error:
        raise ValueError(f"the file is damaged: {error}") from error
    if not inflater.eof:
        raise ValueError("the file is truncated: its compressed data end too early")


def _check_real(file: Path) -> None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    with contextlib.suppress(RuntimeError):  # what cannot be read is said when the file is read
        reader.ReadImageInformation()
        if "complex" in (kind := sitk.GetPixelIDValueAsString(reader.GetPixelID())):
            raise ValueError(_no_numbers(kind))


def _no_numbers(kind: str) -> str:
    return f"its voxels are no real numbers, but {kind}: save one real value per voxel, such as the magnitude"


def _nifti_voxels(content: bytes, *, strict: bool) -> _VoxelData | None:
    """The voxel data of a NIfTI-1 or NIfTI-2 single file; None if it is neither."""
    if content.startswith(_GZIP_MAGIC):
        raise ValueError("it is compressed by gzip, which its name does not say: decompress it, or add .gz to its name")
    if len(content) < _NIFTI_HEADER_BYTES:
        raise ValueError(f"the file is truncated: it has {len(content)} bytes, less than a NIfTI header")
    for order in "<>":
        (header_bytes,) = struct.unpack_from(order + "i", content)
        if header_bytes == _NIFTI_HEADER_BYTES:
            dim, datatype, bits, offset, pixdim = ("8h", 40), ("h", 70), ("h", 72), ("f", 108), ("8f", 76)
            magic, expected = content[344:347], b"n+1"
        elif header_bytes == 540 and len(content) >= 540:
            dim, datatype, bits, offset, pixdim = ("8q", 16), ("h", 12), ("h", 14), ("q", 168), ("8d", 104)
            magic, expected = content[4:7], b"n+2"
        else:
            continue
        # Without it, SimpleITK takes the file for one of Analyze, which has no position in space.
        if strict and magic != expected:
            raise HeaderError(f"its header is damaged: {magic!r} in place of {expected!r}")
        num_dims, *extent = struct.unpack_from(order + dim[0], content, dim[1])
        if not 1 <= num_dims <= 7:
            return None
        (type_number,) = struct.unpack_from(order + datatype[0], content, datatype[1])
        (bits_per_voxel,) = struct.unpack_from(order + bits[0], content, bits[1])
        if type_number in _NIFTI_NO_NUMBERS:
            raise ValueError(_no_numbers(_NIFTI_NO_NUMBERS[type_number]))
        _check_extents(extent[:num_dims])
        if strict:
            _check_sizes(struct.unpack_from(order + pixdim[0], content, pixdim[1])[1:], extent[:num_dims])
        (data_offset,) = struct.unpack_from(order + offset[0], content, offset[1])
        num_bytes = math.prod(extent[:num_dims]) * bits_per_voxel // 8
        if strict:
            _check_offset(data_offset, header_bytes, len(content) - num_bytes)
        kind = _NIFTI_FLOATS.get(type_number)
        return _VoxelData(
            offset=max(int(data_offset), header_bytes) if math.isfinite(data_offset) else header_bytes,
            num_bytes=num_bytes,
            dtype=order + kind if kind else None,
        )
    return None


def _check_offset(offset: float, header_bytes: int, bytes_before_voxels: int) -> None:
    # SimpleITK takes an offset inside of the header, or none, for the header's end, and nibabel takes 0 for the file's
    # first byte. Four bytes follow the header, which say whether extensions do; old programs left them out, and the
    # voxels fill the rest of their files.
    first = header_bytes + 4
    if math.isfinite(offset) and (offset >= first or header_bytes <= int(offset) == bytes_before_voxels):
        return
    raise HeaderError(f"its header lets the voxels begin at byte {offset:g}, where none can be: the first is {first}")


def _check_extents(extent: Sequence[int]) -> None:
    # Readers take no slice for one slice.
    for axis, number in enumerate(extent, start=1):
        if number < 1:
            raise ValueError(f"its header gives {number} voxels along axis {axis}")


def _check_sizes(sizes: Sequence[float], extent: Sequence[int]) -> None:
    # Readers take an impossible voxel size for 1 mm. Axes past the fourth have no size: they are neither space nor
    # time (vectors lie along the fifth).
    for axis, (number, size) in enumerate(zip(extent[:_SIZED_AXES], sizes, strict=False), start=1):
        if number > 1 and not (math.isfinite(size) and size):
            raise HeaderError(f"its header gives a voxel size of {size} along axis {axis}")


def _gipl_voxels(content: bytes) -> _VoxelData | None:
    """The voxel data of a GIPL file; None if its voxel type is unknown."""
    if len(content) < _GIPL_HEADER_BYTES:
        return _VoxelData(_GIPL_HEADER_BYTES, 0, None)
    *extent, voxel_type = struct.unpack_from(">5H", content)
    if voxel_type not in _GIPL_VOXEL_BYTES:
        return None
    num_bytes = math.prod(max(n, 1) for n in extent) * _GIPL_VOXEL_BYTES[voxel_type]
    return _VoxelData(_GIPL_HEADER_BYTES, num_bytes, None)
