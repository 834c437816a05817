"""What readers do not say about an image file: whether it is whole, and whether it holds NaN or infinite voxels.

SimpleITK reads the missing part of a truncated .nii, .nii.gz or .gipl as zeros, and NaN and infinite voxels of a NIfTI
file as zeros too, and says nothing of either; tifffile returns the pages that are left. The other formats' readers
raise by themselves and pass NaN on.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

# GIPL voxel types (the format's own numbers) and their size in bytes.
_GIPL_VOXEL_BYTES = {7: 1, 8: 1, 15: 2, 16: 2, 31: 4, 32: 4, 64: 4, 65: 8}
_GIPL_HEADER_BYTES = 256

# NIfTI's own numbers of the floating point data types.
_NIFTI_FLOATS = {16: "f4", 64: "f8"}


class _VoxelData(NamedTuple):
    """Where a file's voxels are; ``dtype`` is given for floating point only."""

    offset: int
    num_bytes: int
    dtype: str | None


def count_hidden_nonfinite(file: Path) -> int:
    """Check that the file holds all the data it announces, and count the NaN and infinite voxels of a NIfTI file.

    Formats whose readers report both by themselves are not looked at, and 0 is returned.

    Raises:
        ValueError: the file is empty, truncated, or its checksum is wrong.
        OSError: the file cannot be read.
    """
    if file.stat().st_size == 0:
        raise ValueError("the file is empty (0 bytes)")
    if file.suffix == ".gz":
        content, suffix = _gunzipped(file), Path(file.stem).suffix
    elif file.suffix in (".nii", ".gipl"):
        content, suffix = file.read_bytes(), file.suffix
    else:
        return 0
    voxels = _nifti_voxels(content) if suffix == ".nii" else _gipl_voxels(content) if suffix == ".gipl" else None
    if voxels is None:
        return 0
    announced = voxels.offset + voxels.num_bytes
    if len(content) < announced:
        raise ValueError(f"the file is truncated: its header announces {announced} bytes, {len(content)} are there")
    if voxels.dtype is None:
        return 0
    count = voxels.num_bytes // np.dtype(voxels.dtype).itemsize
    values = np.frombuffer(content, dtype=voxels.dtype, count=count, offset=voxels.offset)
    return int(count - np.isfinite(values).sum())


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


def _nifti_voxels(content: bytes) -> _VoxelData | None:
    """The voxel data of a NIfTI-1 or NIfTI-2 single file; None if it is neither."""
    for order in "<>":
        if len(content) >= 348 and struct.unpack_from(order + "i", content)[0] == 348:
            dim, datatype, bits, offset = ("8h", 40), ("h", 70), ("h", 72), ("f", 108)
        elif len(content) >= 540 and struct.unpack_from(order + "i", content)[0] == 540:
            dim, datatype, bits, offset = ("8q", 16), ("h", 12), ("h", 14), ("q", 168)
        else:
            continue
        num_dims, *extent = struct.unpack_from(order + dim[0], content, dim[1])
        if not 1 <= num_dims <= 7:
            return None
        (type_number,) = struct.unpack_from(order + datatype[0], content, datatype[1])
        (bits_per_voxel,) = struct.unpack_from(order + bits[0], content, bits[1])
        (data_offset,) = struct.unpack_from(order + offset[0], content, offset[1])
        kind = _NIFTI_FLOATS.get(type_number)
        return _VoxelData(
            offset=int(data_offset),
            num_bytes=math.prod(extent[:num_dims]) * bits_per_voxel // 8,
            dtype=order + kind if kind else None,
        )
    return None


def _gipl_voxels(content: bytes) -> _VoxelData | None:
    """The voxel data of a GIPL file; None if its voxel type is unknown."""
    if len(content) < _GIPL_HEADER_BYTES:
        return _VoxelData(_GIPL_HEADER_BYTES, 0, None)
    *extent, voxel_type = struct.unpack_from(">5H", content)
    if voxel_type not in _GIPL_VOXEL_BYTES:
        return None
    num_bytes = math.prod(max(n, 1) for n in extent) * _GIPL_VOXEL_BYTES[voxel_type]
    return _VoxelData(_GIPL_HEADER_BYTES, num_bytes, None)
