"""How a reader turned an image to RAS, and how arrays get from its axes to those of the file, and back.

nnU-Net's readers ``...WithReorient`` turn every image; the others leave it as it is. ``Prediction`` has labels along
the file's axes; the reader's writer wants them along the reader's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

_READ_AS = "RAS"
_OPPOSITE = {"R": "L", "A": "P", "S": "I"}


def turned_from(properties: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the orientation (as ``LPS``) that a file's axes x, y, z had, or None by a reader that turns no image.

    Args:
        properties: that the reader returned.
    """
    in_sitk, in_nibabel = (properties.get(f"{library}_stuff", {}) for library in ("sitk", "nibabel"))
    if "original_orientation" in in_sitk:
        orientation: str = in_sitk["original_orientation"]
        return orientation
    if "reoriented_affine" in in_nibabel:
        codes: tuple[str, ...] = nibabel.aff2axcodes(in_nibabel["original_affine"])
        return codes
    return None


class Reorientation(NamedTuple):
    """What a reader did to the axes of a file's array, which are those of SimpleITK's ``GetArrayFromImage``.

    Attributes:
        axes: for each axis of the file's array, which axis of the reader's it is.
        flipped: the axes of the file's array that run the other way in the reader's.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    flipped: tuple[int, ...] = ()

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Reorientation:
        """Return what the reader did to an image, by the properties that it returned."""
        own = turned_from(properties)
        if own is None:
            return cls()
        # Letters are of the axes x, y, z, which arrays have in reverse order.
        read_as = [letter if letter in own else _OPPOSITE[letter] for letter in _READ_AS[::-1]]
        axes = tuple(read_as.index(letter) for letter in reversed(own))
        return cls(axes, tuple(axis for axis, letter in enumerate(reversed(own)) if letter not in _READ_AS))

    def undo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a reader's array (..., Z, Y, X) along the axes of the file."""
        if self == Reorientation():
            return array
        return np.ascontiguousarray(self._flip(_with_axes(array, self.axes)))

    def redo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array (..., Z, Y, X) along the axes of the file as the reader has it."""
        if self == Reorientation():
            return array
        back = tuple(int(axis) for axis in np.argsort(self.axes))
        return np.ascontiguousarray(_with_axes(self._flip(array), back))

    def undo_image(self, image: sitk.Image) -> sitk.Image:
        """Return an image of a reader's array along the axes of the file; no voxel moves in space."""
        if self == Reorientation():
            return image
        permuted = sitk.PermuteAxes(image, [2 - axis for axis in reversed(self.axes)])
        return sitk.Flip(permuted, [2 - axis in self.flipped for axis in range(3)], False)

    def _flip(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.flip(array, tuple(axis - 3 for axis in self.flipped))


def _with_axes(array: npt.NDArray[Any], axes: tuple[int, ...]) -> npt.NDArray[Any]:
    leading = range(array.ndim - 3)
    return array.transpose(*leading, *(array.ndim - 3 + axis for axis in axes))
