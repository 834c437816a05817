"""Reads the label map of a case, and checks that the file is complete, on the images' grid, and holds labels only.

References, training segmentations and a previous stage's predictions are read by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nnunet_missingmod.cases import geometry, nifti
from nnunet_missingmod.cases.integrity import checked_header, printable, tiff_complaints
from nnunet_missingmod.cases.unpacking import unpacked
from nnunet_missingmod.errors import listed


class Grid(NamedTuple):
    """The voxel grid of a case's images: shape (X, Y, Z) and the properties that nnU-Net's reader returned."""

    shape: Sequence[int]
    properties: Mapping[str, Any]


class LabelReader(Protocol):
    """The part of nnU-Net's reader classes that reads label maps."""

    def read_seg(self, seg_fname: str) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Return a label map (1, X, Y, Z) and its properties."""


def read_label_file(
    file: Path,
    reader: LabelReader,
    grid: Grid,
    *,
    tolerance_voxels: float | None = None,
    labels: Collection[int] | None = None,
    nifti_transform: str = "refuse",
    headers: str = "strict",
) -> npt.NDArray[Any]:
    """Return a label map (1, X, Y, Z).

    Args:
        grid: of the images that it belongs to; the shapes must be equal.
        tolerance_voxels: the largest accepted distance between the grids, see ``geometry.distance_voxels``; None
            accepts any distance, as nnU-Net does.
        labels: the accepted values; None accepts any whole number.
        nifti_transform: ``sform`` or ``qform`` if one of them was trusted for the images, see ``nifti.read_by``. Else
            the reader chooses; if its choice lies off the images, the tolerance decides.
        headers: see ``reading.read_files``.

    Raises:
        ValueError: the file is missing, truncated or damaged, lies on another grid, or holds other values.
    """
    described = printable(file)
    if not file.is_file():
        raise ValueError(f"{described} is not there")
    try:
        with unpacked(file) as plain, tiff_complaints() as complaints:
            hidden_nonfinite, _ = checked_header(plain, strict=headers == "strict")
            segmentation, properties, _ = nifti.read_by(
                reader.read_seg,
                plain,
                transform="as_read" if nifti_transform == "refuse" else nifti_transform,
                tolerance_voxels=tolerance_voxels or 0,
            )
    except Exception as error:  # readers raise whatever their libraries raise
        raise ValueError(f"{described} cannot be read: {str(error).strip() or type(error).__name__}") from error
    if complaints:
        raise ValueError(f"{described} is damaged: {'; '.join(complaints)}")
    # Infinity equals its rounded value, and what no integer can hold would become another number.
    is_whole = (np.abs(segmentation) <= np.iinfo(np.int32).max) & (segmentation == np.rint(segmentation))
    if hidden_nonfinite or not is_whole.all():
        raise ValueError(f"{described} holds values that are not whole numbers")
    if len(segmentation) != 1:
        raise ValueError(
            f"{described} holds {len(segmentation)} channels, a label map has one: the numbers of the labels"
        )
    if segmentation.shape != (1, *grid.shape):
        raise ValueError(f"{described} has shape {segmentation.shape[1:]}, the images have {tuple(grid.shape)}")
    if tolerance_voxels is not None:
        apart = geometry.distance_voxels(grid.shape, grid.properties, properties)
        if apart > tolerance_voxels:
            raise ValueError(
                f"{described} lies {apart:.3g} voxels off the images' grid "
                f"({geometry.describe(grid.shape, properties)}; "
                f"the images: {geometry.describe(grid.shape, grid.properties)})"
            )
    if labels is not None:
        others = sorted(set(np.unique(segmentation).astype(int).tolist()) - set(labels))
        if others:
            raise ValueError(f"{described} holds {listed(others)}, but the dataset's labels are {sorted(labels)}")
    return segmentation
