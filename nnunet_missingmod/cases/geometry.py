"""Checks the geometry of images, and measures how far the voxel grids of two images lie apart.

Both use the properties that nnU-Net's readers return; ``reading`` and ``labels`` call them for every file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_missingmod.cases.integrity import HeaderError

# The accepted extent of a voxel, in the file's unit. With other values the resampled image would be far too large.
_SPACING_RANGE = (1e-6, 1e6)
# The accepted scale of an axis. An affine into a template's space scales a little; more means a damaged header.
_AXIS_SCALE = (0.25, 4.0)
_SMALLEST_DETERMINANT = 0.1


def describe(shape: Sequence[int], properties: Mapping[str, Any]) -> str:
    """Return an image's geometry in words, for error messages."""
    parts = [f"shape {tuple(int(n) for n in shape)}", f"spacing {_rounded(properties['spacing'])}"]
    if "sitk_stuff" in properties:
        parts += [f"{key} {_rounded(properties['sitk_stuff'][key])}" for key in ("origin", "direction")]
    elif "nibabel_stuff" in properties:
        parts.append(f"affine {_rounded(np.ravel(_affine(properties)))}")
    return ", ".join(parts)


def check(properties: Mapping[str, Any]) -> None:
    """Check that an image's geometry is possible.

    Raises:
        HeaderError: origin or axes are not finite, axes are degenerate, or the spacing contradicts the axes.
        ValueError: the spacing is not finite or outside of 1e-6..1e6, so that nothing can be resampled by it.
    """
    spacing = np.asarray(properties["spacing"], dtype=float)
    if not (
        np.isfinite(spacing).all() and (spacing >= _SPACING_RANGE[0]).all() and (spacing <= _SPACING_RANGE[1]).all()
    ):
        raise ValueError(f"its spacing {_rounded(spacing)} is none")
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        axes = np.asarray(stuff["direction"], dtype=float).reshape(len(stuff["spacing"]), -1)
        origin = np.asarray(stuff["origin"], dtype=float)
    elif "nibabel_stuff" in properties:
        # The reader takes spacing and axes from different parts of the header, so they may contradict each other.
        affine = _affine(properties)
        axes, origin = affine[:3, :3] / spacing[::-1], affine[:3, 3]
    else:
        return
    if not (np.isfinite(axes).all() and np.isfinite(origin).all()):
        raise HeaderError("its position in space is not finite")
    scale = np.linalg.norm(axes, axis=0)
    if (scale < _AXIS_SCALE[0]).any() or (scale > _AXIS_SCALE[1]).any():
        raise HeaderError(f"its spacing {_rounded(spacing)} contradicts its axes {_rounded(np.ravel(axes))}")
    if abs(np.linalg.det(axes / scale)) < _SMALLEST_DETERMINANT:
        raise HeaderError(f"its axes {_rounded(np.ravel(axes))} are degenerate")


def is_volume(properties: Mapping[str, Any]) -> bool:
    """Return whether an image has two or three dimensions and one value per voxel, by its reader's properties."""
    return len(properties["spacing"]) == 3 and len(_in_plane_spacing(properties)) <= 3


def is_flat(properties: Mapping[str, Any]) -> bool:
    """Return whether an image has two dimensions, by its reader's properties."""
    return len(_in_plane_spacing(properties)) == 2


def has_vectors(properties: Mapping[str, Any]) -> bool:
    """Return whether an image that SimpleITK read has several values per voxel; they are its array's last axis."""
    return "sitk_stuff" in properties and len(properties["spacing"]) == 2


def distance_voxels(shape: Sequence[int], first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Return the distance, in voxels, between the positions of the same voxel in two images of the same shape.

    It is the largest distance over the eight corners of the volume, in mm, divided by the smallest voxel extent. File
    formats without a position in space (.png, .tif) are compared by their spacing: the largest relative difference
    times the number of voxels along that axis. The distance between a 2D and a 3D image is infinite, and so is the
    distance to a position that is not finite.
    """
    if len(_in_plane_spacing(first)) != len(_in_plane_spacing(second)):
        return float("inf")
    if "sitk_stuff" in first or "nibabel_stuff" in first:
        one, other = _corners_mm(shape, first), _corners_mm(shape, second)
        if np.array_equal(one, other, equal_nan=True):
            return 0.0
        apart_mm = float(np.linalg.norm(one - other, axis=1).max())
        return apart_mm / float(min(_in_plane_spacing(first))) if np.isfinite(apart_mm) else float("inf")
    own, others = np.asarray(first["spacing"], float), np.asarray(second["spacing"], float)
    return float((np.abs(own - others) / own * np.asarray(shape)).max())


def corners_mm(shape: Sequence[int], properties: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the positions (2^D, D) of a volume's corner voxels, in mm to the right, front and top as NIfTI has them.

    Args:
        shape: of the array that the reader returned, without channels.
        properties: of a format that has a position in space.
    """
    corners = _corners_mm(shape, properties)
    if "sitk_stuff" in properties:
        corners[:, :2] *= -1  # ITK's axes point to the left and back
    return corners


def corner_indices(shape: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the indices (2^D, D) of the corner voxels of an array."""
    return np.array(list(product(*[(0, size - 1) for size in shape])), dtype=float)


def simpleitk_geometry(properties: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return spacing, origin and direction as SimpleITK has them; None for a format without position in space."""
    if "sitk_stuff" in properties:
        stuff: Mapping[str, Any] = properties["sitk_stuff"]
        return stuff
    if "nibabel_stuff" not in properties:
        return None
    affine = _affine(properties)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    to_left_and_back = np.array([-1, -1, 1])
    return {
        "spacing": tuple(spacing.tolist()),
        "origin": tuple((to_left_and_back * affine[:3, 3]).tolist()),
        "direction": tuple((to_left_and_back[:, None] * affine[:3, :3] / spacing).ravel().tolist()),
    }


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _affine(properties: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    stuff = properties["nibabel_stuff"]
    return np.asarray(stuff.get("reoriented_affine", stuff["original_affine"]), dtype=float)


def _in_plane_spacing(properties: Mapping[str, Any]) -> Sequence[float]:
    # nnU-Net adds to a 2D image a third spacing of 999 times the others; the file's own spacing has two entries.
    return properties["sitk_stuff"]["spacing"] if "sitk_stuff" in properties else properties["spacing"]


def _corners_mm(shape: Sequence[int], properties: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the positions (2^D, D) of the corner voxels in mm; the array's axes are the file's in reverse order."""
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        spacing = np.asarray(stuff["spacing"], dtype=float)
        origin = np.asarray(stuff["origin"], dtype=float)
        matrix = np.asarray(stuff["direction"], dtype=float).reshape(len(spacing), len(spacing)) * spacing
    else:
        affine = _affine(properties)
        matrix, origin = affine[:3, :3], affine[:3, 3]
    return corner_indices(list(shape)[::-1][: len(origin)]) @ matrix.T + origin
