"""Readers that turn images to RAS: labels get back to every voxel of the file that they belong to, and again."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from nnunet_missingmod.cases.geometry import simpleitk_geometry
from nnunet_missingmod.cases.reorientation import Reorientation

READERS = [SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient]
ORIENTATIONS = ["".join(letters) for pairs in permutations(("RL", "AP", "SI")) for letters in product(*pairs)]


def write(file: Path, orientation: str, tilt: float) -> sitk.Image:
    """Write an image of which no two voxels are alike, whose axes run so, turned a little about the last one."""
    axes = np.zeros((3, 3))
    for axis, letter in enumerate(orientation):
        axes["RAS".find(letter) if letter in "RAS" else "LPI".find(letter), axis] = 1 if letter in "RAS" else -1
    cos, sin = np.cos(tilt), np.sin(tilt)
    direction = np.diag([-1, -1, 1]) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ axes
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.float32).reshape(3, 4, 5))
    image.SetSpacing((1.5, 0.75, 2.0))
    image.SetOrigin((1.25, -2.5, 3.0))
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(file))
    return sitk.ReadImage(str(file))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turned_array_gets_back_to_the_axes_of_its_file(reader: Any, orientation: str, tmp_path: Path) -> None:
    own = write(tmp_path / "a.nii.gz", orientation, tilt=0.3)
    assert "".join(nibabel.aff2axcodes(nibabel.load(tmp_path / "a.nii.gz").affine)) == orientation
    read, properties = reader().read_images([str(tmp_path / "a.nii.gz")])
    turned = Reorientation.of(properties)
    expected = sitk.GetArrayFromImage(own)
    np.testing.assert_array_equal(turned.undo(read[0]), expected)
    np.testing.assert_array_equal(turned.undo(read), expected[None])  # leading axes stay
    assert turned.undo(read).flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(turned.redo(expected), read[0])
    np.testing.assert_allclose([properties["spacing"][axis] for axis in turned.axes], own.GetSpacing()[::-1])
    geometry = simpleitk_geometry(properties)
    assert geometry is not None
    image = sitk.GetImageFromArray(read[0])
    image.SetSpacing(geometry["spacing"])
    image.SetOrigin(geometry["origin"])
    image.SetDirection(geometry["direction"])
    made = turned.undo_image(image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), expected)
    for part in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(made, part)(), getattr(own, part)(), atol=1e-5)


def test_what_no_reader_turned_is_left_as_it_is() -> None:
    pixels = np.arange(6).reshape(1, 2, 3)
    for properties in ({}, {"spacing": (999, 1, 1)}, {"sitk_stuff": {"spacing": (1.0, 1.0)}, "spacing": [999, 1, 1]}):
        turned = Reorientation.of(properties)
        assert turned.undo(pixels) is pixels
        assert turned.redo(pixels) is pixels
