"""Label maps from files, as nnU-Net or any other method wrote them, and whether two of them lie on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

# Relative: NIfTI headers hold float32, and writers round differently.
_SPACING_TOLERANCE = 1e-3
# Of direction cosines: an oblique scan may be off by rounding, a flipped or swapped axis is off by one.
_DIRECTION_TOLERANCE = 0.1


@dataclass(frozen=True)
class LabelFile:
    """A label map (integers, axes as SimpleITK gives them: Z Y X) with its voxel spacing in the same order.

    ``direction`` holds the direction cosines as SimpleITK gives them, or None if they are not known.
    """

    labels: NDArray[Any]
    spacing_mm: tuple[float, ...]
    direction: tuple[float, ...] | None = None


def as_label_map(image: sitk.Image, *, source: Path) -> NDArray[Any]:
    """Return the voxels of an image as integers.

    Raises:
        ValueError: a voxel is not a whole number, as in a map of probabilities.
    """
    voxels = sitk.GetArrayFromImage(image)
    if np.issubdtype(voxels.dtype, np.integer):
        return voxels
    with np.errstate(invalid="ignore"):
        labels = np.nan_to_num(voxels).astype(np.int64)
    if not np.array_equal(labels, voxels):
        raise ValueError(f"{source} is no label map: it holds values that are not whole numbers.")
    return labels


def read_image(path: Path) -> sitk.Image:
    """Read an image file.

    Raises:
        ValueError: the file is missing or unreadable.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist.")
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read as an image.") from error


def read_label_map(path: Path) -> LabelFile:
    """Read a label map.

    Raises:
        ValueError: the file is missing or unreadable, or holds values that are not whole numbers.
    """
    image = read_image(path)
    return LabelFile(as_label_map(image, source=path), tuple(reversed(image.GetSpacing())), image.GetDirection())


def check_same_grid(prediction: LabelFile, reference: LabelFile, *, case: str) -> None:
    """Refuse two label maps that do not lie on one grid; spacing may differ by a thousandth, directions by rounding.

    Raises:
        ValueError: shape, spacing or direction differs; both are named.
    """
    if prediction.labels.shape != reference.labels.shape:
        raise ValueError(
            f"{case}: the prediction has shape {prediction.labels.shape}, the reference {reference.labels.shape}: "
            "predictions are scored on the original geometry, export them to it."
        )
    if not np.allclose(prediction.spacing_mm, reference.spacing_mm, rtol=_SPACING_TOLERANCE, atol=0):
        raise ValueError(
            f"{case}: the prediction has spacing {prediction.spacing_mm} mm, the reference {reference.spacing_mm} mm: "
            "predictions are scored on the original geometry, export them to it."
        )
    if prediction.direction is None or reference.direction is None:
        return
    if not np.allclose(prediction.direction, reference.direction, rtol=0, atol=_DIRECTION_TOLERANCE):
        raise ValueError(
            f"{case}: the prediction's axes point along {_rounded(prediction.direction)}, the reference's along "
            f"{_rounded(reference.direction)}: one of them is flipped or lost its header. Write the prediction with "
            "the header of the case's images."
        )


def _rounded(direction: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(cosine, 2) + 0.0 for cosine in direction)
