"""Label maps of any reader, with their grid in space: `scoring` compares two of them, the report draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

# Relative: NIfTI headers hold float32, and writers round differently.
_SPACING_TOLERANCE = 1e-3
# Of direction cosines: beyond it an axis is flipped or swapped, or the volume was rotated.
_DIRECTION_TOLERANCE = 0.1
# Between the positions of a corner; it is how far the images of a case may lie apart, too.
_DISTANCE_TOLERANCE_VOXELS = 0.1
# nnU-Net gives an image of two dimensions a first spacing of 999 times the others.
_SPACING_OF_NO_AXIS = 998.0


@dataclass(frozen=True)
class LabelFile:
    """A label map (integers, axes as SimpleITK gives them: Z Y X) with its voxel spacing in the same order.

    ``direction`` holds the direction cosines and ``origin_mm`` the position of the first voxel, X Y Z, as SimpleITK
    gives them, or None if they are not known.
    """

    labels: NDArray[Any]
    spacing_mm: tuple[float, ...]
    direction: tuple[float, ...] | None = None
    origin_mm: tuple[float, ...] | None = None

    def corners_mm(self) -> NDArray[np.float64] | None:
        """Return the positions of the corner voxels, (2^axes, axes), or None if they are not known."""
        if self.direction is None or self.origin_mm is None:
            return None
        ends = [(0, length - 1) for length in reversed(self.labels.shape)]
        axes = np.reshape(self.direction, (len(ends), len(ends))) * np.asarray(self.spacing_mm[::-1])
        return np.asarray(list(product(*ends)), np.float64) @ axes.T + np.asarray(self.origin_mm)


ReadLabels = Callable[[Path], LabelFile]


def label_file_of(segmentation: NDArray[Any], properties: Mapping[str, Any], *, source: Path) -> LabelFile:
    """Return what a reader of nnU-Net read from a label map, ``(1, X, Y, Z)`` and its properties; see `read_label_map`.

    Raises:
        ValueError: the file holds several volumes, or values that are not whole numbers.
    """
    if segmentation.ndim != 4 or len(segmentation) != 1:
        raise ValueError(f"{source} holds {len(segmentation)} channels, a label map has one.")
    voxels, grid = on_grid(_as_integers(segmentation, source), properties)
    return replace(grid, labels=voxels[0])


def on_grid(channels: NDArray[Any], properties: Mapping[str, Any]) -> tuple[NDArray[Any], LabelFile]:
    """Return the channels ``(C, X, Y, Z)`` of one of nnU-Net's readers without the axis that it adds to 2D images.

    The second value holds the first channel with spacing, direction and origin as SimpleITK has them. Readers of
    formats without a position in space give neither direction nor origin.
    """
    spacing = tuple(float(step) for step in properties["spacing"])
    if channels.shape[1] == 1 and spacing[0] >= _SPACING_OF_NO_AXIS * max(spacing[1:]):
        channels, spacing = channels[:, 0], spacing[1:]
    direction: tuple[float, ...] | None = None
    origin: tuple[float, ...] | None = None
    if "sitk_stuff" in properties:
        direction, origin = (tuple(map(float, properties["sitk_stuff"][key])) for key in ("direction", "origin"))
    elif "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        # nibabel counts x and y from left to right and back to front, SimpleITK the other way.
        affine = np.diag([-1.0, -1.0, 1.0]) @ np.asarray(stuff.get("reoriented_affine", stuff["original_affine"]))[:3]
        direction = tuple((affine[:, :3] / np.asarray(spacing[::-1])).ravel().tolist())
        origin = tuple(affine[:, 3].tolist())
    return channels, LabelFile(channels[0], spacing, direction, origin)


def relabelled(labels: NDArray[Any], new_labels: Mapping[int, int]) -> NDArray[Any]:
    """Return a label map in which each label of ``new_labels`` is replaced by its new one, ``{4: 3}``; all at once."""
    changed = labels.astype(np.int64) if new_labels else labels
    for old, new in new_labels.items():
        changed[labels == old] = new
    return changed


def as_label_map(image: sitk.Image, *, source: Path) -> NDArray[Any]:
    """Return the voxels of an image as integers.

    Raises:
        ValueError: a voxel is not a whole number, as in a map of probabilities.
    """
    return _as_integers(sitk.GetArrayFromImage(image), source)


def _as_integers(voxels: NDArray[Any], source: Path) -> NDArray[Any]:
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
        ValueError: the file is missing or unreadable, is a colour picture, or holds values that are not whole numbers.
    """
    image = read_image(path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{path} holds {image.GetNumberOfComponentsPerPixel()} channels, a label map has one.")
    spacing_mm = tuple(reversed(image.GetSpacing()))
    return LabelFile(as_label_map(image, source=path), spacing_mm, image.GetDirection(), image.GetOrigin())


def check_same_grid(prediction: LabelFile, reference: LabelFile, *, case: str) -> None:
    """Refuse two label maps that do not lie on one grid.

    Spacing may differ by a thousandth, and the position of each corner by a tenth of a voxel.

    Raises:
        ValueError: shape, spacing, direction or position differs; both are named.
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
    first, second = prediction.corners_mm(), reference.corners_mm()
    if first is None or second is None:
        return
    apart = float(np.linalg.norm(first - second, axis=1).max()) / min(reference.spacing_mm)
    if not apart <= _DISTANCE_TOLERANCE_VOXELS:
        raise ValueError(
            f"{case}: the prediction lies {apart:.3g} voxels off the reference (first voxels at {_rounded(first[0])} "
            f"and {_rounded(second[0])} mm): predictions are scored on the original geometry. Write them with "
            "the header of the case's images, or mend the reference's."
        )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 2) + 0.0 for value in values)
