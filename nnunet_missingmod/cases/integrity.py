"""What readers do not say about an image file: whether it is whole, and whether it holds NaN or infinite voxels.

SimpleITK reads the missing part of a truncated .nii, .nii.gz or .gipl as zeros, NaN and infinite voxels of a NIfTI file
as zeros too, and damaged compressed .mha and .nrrd files as whatever comes out, and says nothing; tifffile returns the
pages that are left. The other formats' readers raise by themselves and pass NaN on.

A changed voxel in a file without compression has no checksum to betray it, in any format.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

# GIPL voxel types (the format's own numbers) and their size in bytes.
_GIPL_VOXEL_BYTES = {7: 1, 8: 1, 15: 2, 16: 2, 31: 4, 32: 4, 64: 4, 65: 8}
_GIPL_HEADER_BYTES = 256

# suffix: (what ends the header, the header line of a file whose data follow compressed)
_COMPRESSED = {
    ".mha": (b"ElementDataFile = LOCAL\n", re.compile(rb"^CompressedData\s*=\s*True", re.MULTILINE | re.IGNORECASE)),
    ".nrrd": (b"\n\n", re.compile(rb"^encoding:\s*gz", re.MULTILINE | re.IGNORECASE)),
}
_ZLIB_OR_GZIP = 32  # as zlib's manual has it

_SIZED_AXES = 4  # space and time
_NIFTI_HEADER_BYTES = 348  # of NIfTI-1; that of NIfTI-2 is longer
# NIfTI's own numbers of the floating point data types.
_NIFTI_FLOATS = {16: "f4", 64: "f8"}


class _VoxelData(NamedTuple):
    """Where a file's voxels are; ``dtype`` is given for floating point only."""

    offset: int
    num_bytes: int
    dtype: str | None


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


def count_hidden_nonfinite(file: Path) -> int:
    """Check that the file holds all the data it announces, and count the NaN and infinite voxels of a NIfTI file.

    Formats whose readers report both by themselves are not looked at, and 0 is returned.

    Raises:
        ValueError: as ``check_whole``, but the message does not name the file.
        OSError: the file cannot be read.
    """
    content, voxels = _whole_voxels(file)
    if voxels is None or voxels.dtype is None:
        return 0
    count = voxels.num_bytes // np.dtype(voxels.dtype).itemsize
    values = np.frombuffer(content, dtype=voxels.dtype, count=count, offset=voxels.offset)
    return int(count - np.isfinite(values).sum())


def _whole_voxels(file: Path) -> tuple[bytes, _VoxelData | None]:
    """The content of a file that was found whole, and where its voxels are; None if its readers see to both."""
    if file.is_dir():
        raise ValueError("it is a folder")
    if file.stat().st_size == 0:
        raise ValueError("the file is empty (0 bytes)")
    if file.suffix in _COMPRESSED:
        _check_compressed(file.read_bytes(), *_COMPRESSED[file.suffix])
        return b"", None
    if file.suffix == ".gz":
        content, suffix = _gunzipped(file), Path(file.stem).suffix
    elif file.suffix in (".nii", ".gipl"):
        content, suffix = file.read_bytes(), file.suffix
    else:
        return b"", None
    voxels = _nifti_voxels(content) if suffix == ".nii" else _gipl_voxels(content) if suffix == ".gipl" else None
    if voxels is not None and len(content) < (announced := voxels.offset + voxels.num_bytes):
        raise ValueError(f"the file is truncated: its header announces {announced} bytes, {len(content)} are there")
    return content, voxels


@contextlib.contextmanager
def tiff_complaints() -> Iterator[list[str]]:
    """Collect what tifffile logs while it reads: that is all it does about a truncated multi-page file."""
    complaints: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield complaints
    finally:
        logger.removeHandler(handler)


def _gunzipped(file: Path) -> bytes:
    try:
        with gzip.open(file) as stream:
            return stream.read()
    except EOFError as error:
        raise ValueError("the file is truncated: its compressed data end too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"the file is damaged: {error}") from error


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


def _nifti_voxels(content: bytes) -> _VoxelData | None:
    """The voxel data of a NIfTI-1 or NIfTI-2 single file; None if it is neither."""
    if len(content) < _NIFTI_HEADER_BYTES:
        raise ValueError(f"the file is truncated: it has {len(content)} bytes, less than a NIfTI header")
    for order in "<>":
        if struct.unpack_from(order + "i", content)[0] == _NIFTI_HEADER_BYTES:
            dim, datatype, bits, offset, pixdim = ("8h", 40), ("h", 70), ("h", 72), ("f", 108), ("8f", 76)
            _check_magic(content[344:347], b"n+1")
        elif len(content) >= 540 and struct.unpack_from(order + "i", content)[0] == 540:
            dim, datatype, bits, offset, pixdim = ("8q", 16), ("h", 12), ("h", 14), ("q", 168), ("8d", 104)
            _check_magic(content[4:7], b"n+2")
        else:
            continue
        num_dims, *extent = struct.unpack_from(order + dim[0], content, dim[1])
        if not 1 <= num_dims <= 7:
            return None
        (type_number,) = struct.unpack_from(order + datatype[0], content, datatype[1])
        (bits_per_voxel,) = struct.unpack_from(order + bits[0], content, bits[1])
        _check_extents(order, content, pixdim, extent[:num_dims])
        (data_offset,) = struct.unpack_from(order + offset[0], content, offset[1])
        kind = _NIFTI_FLOATS.get(type_number)
        return _VoxelData(
            offset=int(data_offset),
            num_bytes=math.prod(extent[:num_dims]) * bits_per_voxel // 8,
            dtype=order + kind if kind else None,
        )
    return None


def _check_magic(found: bytes, expected: bytes) -> None:
    # Without it, SimpleITK takes the file for one of Analyze, which has no position in space.
    if found != expected:
        raise ValueError(f"its header is damaged: {found!r} in place of {expected!r}")


def _check_extents(order: str, content: bytes, pixdim: tuple[str, int], extent: Sequence[int]) -> None:
    # Readers take an impossible voxel size for 1 mm, and no slice for one slice. Axes past the fourth have no size:
    # they are neither space nor time (vectors lie along the fifth).
    sizes = struct.unpack_from(order + pixdim[0], content, pixdim[1])[1:]
    for axis, (number, size) in enumerate(zip(extent, sizes, strict=False), start=1):
        if number < 1:
            raise ValueError(f"its header gives {number} voxels along axis {axis}")
        if axis <= _SIZED_AXES and number > 1 and not (math.isfinite(size) and size):
            raise ValueError(f"its header gives a voxel size of {size} along axis {axis}")


def _gipl_voxels(content: bytes) -> _VoxelData | None:
    """The voxel data of a GIPL file; None if its voxel type is unknown."""
    if len(content) < _GIPL_HEADER_BYTES:
        return _VoxelData(_GIPL_HEADER_BYTES, 0, None)
    *extent, voxel_type = struct.unpack_from(">5H", content)
    if voxel_type not in _GIPL_VOXEL_BYTES:
        return None
    num_bytes = math.prod(max(n, 1) for n in extent) * _GIPL_VOXEL_BYTES[voxel_type]
    return _VoxelData(_GIPL_HEADER_BYTES, num_bytes, None)
