"""A NIfTI file may say twice where it lies, by its sform and its qform: whether they agree, and which one is trusted.

nibabel goes by the sform where there is one; SimpleITK by one or the other, depending on their codes. ``reading`` and
``labels`` read their files by `read_by`.
"""

from __future__ import annotations

import contextlib
import gzip
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import numpy.typing as npt

from nnunet_missingmod.cases import geometry
from nnunet_missingmod.cases.integrity import HeaderError

Read = tuple[npt.NDArray[Any], dict[str, Any]]

# Where the codes of the two are in the header of NIfTI-1 and of NIfTI-2.
_CODE = {"sform": {348: 254, 540: 348}, "qform": {348: 252, 540: 344}}


class Disagreement(NamedTuple):
    """How far apart sform and qform put a corner of the volume, and where each puts all of them (8, 3) in mm."""

    mm: float
    voxels: float
    corners_mm: Mapping[str, npt.NDArray[np.float64]]


def disagreement(file: Path) -> Disagreement | None:
    """Return how far sform and qform disagree; None where the file is no NIfTI or has only one of them."""
    if not file.name.lower().endswith((".nii", ".nii.gz")):
        return None
    try:
        header: Any = nibabel.load(file).header
        affines = {"sform": header.get_sform(coded=True)[0], "qform": header.get_qform(coded=True)[0]}
    except Exception:  # a qform that is no rotation, or no header at all: the reader sees to it
        return None
    if any(affine is None or not np.isfinite(affine).all() for affine in affines.values()):
        return None
    extent = header.get_data_shape()[:3]
    corners = np.array(list(product(*[(0, n - 1) for n in (*extent, 1, 1)[:3]])), dtype=float)
    placed = {name: corners @ affine[:3, :3].T + affine[:3, 3] for name, affine in affines.items()}
    mm = float(np.linalg.norm(placed["sform"] - placed["qform"], axis=1).max())
    smallest = float(np.abs(header.get_zooms()[: len(extent)]).min())
    return Disagreement(mm, mm / smallest if smallest else float("inf"), placed)


def read_by(
    read: Callable[[str], Read], file: Path, *, transform: str, tolerance_voxels: float
) -> tuple[npt.NDArray[Any], dict[str, Any], str | None]:
    """Read a file by the transform that is trusted, whichever the reader would go by.

    Args:
        read: reads a file given by its path.
        transform: ``sform`` or ``qform``; ``refuse`` refuses a file whose transforms disagree, and ``as_read`` leaves
            the choice to the reader.
        tolerance_voxels: how far the two may lie apart before they disagree.

    Returns:
        The array, its properties, and what was decided, if there was something to decide.

    Raises:
        HeaderError: the transforms disagree.
        ValueError: the reader cannot use the transform that is trusted. Beside it, whatever the reader raises.
    """
    found = disagreement(file) if transform != "as_read" else None
    if found is None or found.voxels <= tolerance_voxels:
        return *read(str(file)), None
    apart = f"its sform and its qform lie {found.mm:.3g} mm ({found.voxels:.3g} voxels) apart"
    if transform == "refuse":
        raise HeaderError(
            f"{apart}, so that programs disagree on where it lies. Correct the header, or say which of them to trust: "
            '"nifti_transform": "sform" or "qform" in the plans\' "missingmod" block (predict: --nifti-transform).'
        )
    with _without_the_other(file, transform) as copy:
        try:
            array, properties = read(str(copy))
        except Exception as error:  # readers raise whatever their libraries raise
            raise ValueError(f"{apart}, and its reader cannot use the {transform}: {error}") from error
    placed, trusted = geometry.corners_mm(array.shape[1:], properties), found.corners_mm[transform]
    if placed.shape == trusted.shape:
        # A reader may turn the axes round, so each corner is compared with the nearest one.
        distances = np.linalg.norm(placed[:, None] - trusted[None], axis=-1)
        off_mm = float(max(distances.min(axis=0).max(), distances.min(axis=1).max()))
        if off_mm > tolerance_voxels * found.mm / found.voxels:
            raise ValueError(f"{apart}, and its reader cannot use the {transform} (it is {off_mm:.3g} mm off)")
    return array, properties, f"{apart}; the {transform} was trusted"


@contextlib.contextmanager
def _without_the_other(file: Path, transform: str) -> Iterator[Path]:
    """Yield a copy of a file that has no other transform than this one."""
    content = bytearray(gzip.decompress(file.read_bytes()) if file.suffix.lower() == ".gz" else file.read_bytes())
    for order in ("little", "big"):
        size = int.from_bytes(content[:4], order)
        if size in _CODE["sform"]:
            at = _CODE["qform" if transform == "sform" else "sform"][size]
            width = 2 if size == 348 else 4
            content[at : at + width] = bytes(width)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "image.nii")
        copy.write_bytes(content)
        yield copy
