"""Images in memory: what nnU-Net's readers would have returned of their files, and inputs that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from skimage import io as pictures

from nnunet_missingmod.cases.memory import MemoryImage

SPACING = (1.5, 0.75, 2.0)
TURNED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def image(dtype: Any = np.int16, dimensions: int = 3) -> sitk.Image:
    shape = (4, 5, 6)[-dimensions:]
    made = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 200, shape).astype(dtype))
    made.SetSpacing(SPACING[:dimensions])
    if dimensions == 3:
        made.SetOrigin((1.25, -2.5, 3.0))
        made.SetDirection(TURNED)
    return made


def equal(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(equal(found[key], value) for key, value in expected.items())
    return found == expected if isinstance(expected, str) else bool(np.allclose(found, expected))


@pytest.mark.parametrize("reader", [SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint8])
def test_it_is_what_the_reader_returns_of_its_file(reader: Any, dtype: Any, tmp_path: Path) -> None:
    sitk.WriteImage(image(dtype), str(tmp_path / "a.nii.gz"))
    expected, properties = reader().read_images([str(tmp_path / "a.nii.gz")])
    found, of_memory = MemoryImage(image(dtype)).read(reader())
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)
    assert equal(of_memory, properties)


def test_a_slice_is_what_the_reader_returns_of_its_file(tmp_path: Path) -> None:
    sitk.WriteImage(image(dimensions=2), str(tmp_path / "a.mha"))
    expected, properties = SimpleITKIO().read_images([str(tmp_path / "a.mha")])
    found, of_memory = MemoryImage(image(dimensions=2)).read(SimpleITKIO())
    np.testing.assert_array_equal(found, expected)
    assert equal(of_memory, properties)


def test_an_array_has_the_axes_of_its_spacing(tmp_path: Path) -> None:
    array = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
    found, properties = MemoryImage((array, (2.0, 0.75, 1.5))).read(SimpleITKIO())
    np.testing.assert_array_equal(found[0], array)
    assert properties["spacing"] == [2.0, 0.75, 1.5]
    assert properties["sitk_stuff"] == {
        "spacing": (1.5, 0.75, 2.0),
        "origin": (0.0, 0.0, 0.0),
        "direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    }
    for kind in (np.float16, ">f4", ">i2", "<f8", np.longdouble, bool, np.uint64):
        given = array.astype(kind) if kind is not np.uint64 else np.abs(array).astype(kind)
        np.testing.assert_array_equal(
            MemoryImage((given, (1, 1, 1))).read(SimpleITKIO())[0][0], given.astype(np.float32)
        )
    for given in (array.T, array[::-1], np.asfortranarray(array)):
        np.testing.assert_array_equal(MemoryImage((given, (1, 1, 1))).read(SimpleITKIO())[0][0], given)


def test_pictures_and_tiffs_are_what_their_readers_return(tmp_path: Path) -> None:
    flat = np.random.default_rng(2).integers(0, 255, (7, 9)).astype(np.uint8)
    pictures.imsave(tmp_path / "a.png", flat, check_contrast=False)
    expected, properties = NaturalImage2DIO().read_images([str(tmp_path / "a.png")])
    found, of_memory = MemoryImage((flat, (1, 1))).read(NaturalImage2DIO())
    np.testing.assert_array_equal(found, expected)
    assert of_memory == properties
    for colours in (np.stack([flat] * 3), np.stack([flat] * 3, axis=-1)):
        with pytest.raises(ValueError, match=r"pictures, which are \(Y, X\): give each colour as"):
            MemoryImage((colours, (1, 1, 1))).read(NaturalImage2DIO())
    volume = np.random.default_rng(3).normal(size=(4, 7, 9)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a_0000.tif", volume, photometric="minisblack")
    (tmp_path / "a.json").write_text(json.dumps({"spacing": [3.0, 1.0, 1.0]}))
    expected, properties = Tiff3DIO().read_images([str(tmp_path / "a_0000.tif")])
    found, of_memory = MemoryImage((volume, (3.0, 1.0, 1.0))).read(Tiff3DIO())
    np.testing.assert_array_equal(found, expected)
    assert equal(of_memory, properties)


@pytest.mark.parametrize("kind", [sitk.sitkUInt8, sitk.sitkInt64, sitk.sitkFloat64, sitk.sitkVectorInt16])
def test_one_real_number_per_voxel_is_an_image(kind: int) -> None:
    given = sitk.Image([3, 4, 5], kind, 1)
    assert MemoryImage(given).read(SimpleITKIO())[0].shape == (1, 5, 4, 3)


def test_an_array_whose_mask_hides_nothing_is_what_it_is_without() -> None:
    array = np.random.default_rng(4).normal(size=(4, 5, 6)).astype(np.float32)
    found, _ = MemoryImage((np.ma.masked_invalid(array), (1, 1, 1))).read(SimpleITKIO())
    np.testing.assert_array_equal(found[0], array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((3, 4, 5)), "An image is a path, a SimpleITK image, or"),
        (7, "got int"),
        ((np.zeros((3, 4, 5)), None), "An image is a path"),
        ((np.zeros((3, 4, 5)), "abc"), "An image is a path"),
        ((np.zeros((2, 3, 4, 5)), (1, 1, 1, 1)), r"\(Z, Y, X\) or \(Y, X\) and made of real numbers; got float64"),
        ((np.zeros((3, 4, 5), complex), (1, 1, 1)), "complex128"),
        ((np.zeros((3, 4, 5)), (1, 1)), r"as many numbers above 0.* got \(1\.0, 1\.0\)"),
        ((np.zeros((3, 4, 5)), (1, 0, 1)), "as many numbers above 0"),
        ((np.zeros((3, 4, 5)), (1, float("nan"), 1)), "as many numbers above 0"),
        (sitk.Image([3, 4, 5], sitk.sitkVectorUInt8, 3), "has 3 values per voxel"),
        (sitk.Image([3, 4, 5, 2], sitk.sitkUInt8), "has 4 dimensions"),
        (sitk.Image([3, 4, 5], sitk.sitkLabelUInt8), "and these are label of 8-bit unsigned integer: .*by sitk.Cast"),
        (sitk.Image([3, 4, 5], sitk.sitkLabelUInt64), "label of 64-bit"),
        (sitk.Image([3, 4, 5], sitk.sitkComplexFloat32), "complex of 32-bit float: .*by sitk.ComplexToModulus"),
        (sitk.Image([3, 4, 5], sitk.sitkComplexFloat64), "complex of 64-bit float"),
        (sitk.Image(), r"has no voxels: its size is \(0, 0\)"),
        ((np.zeros((0, 4, 4)), (1, 1, 1)), r"has no voxels: its size is \(4, 4, 0\)"),
        ((np.zeros((4, 0)), (1, 1)), "has no voxels"),
        ((np.ma.masked_greater(np.arange(60).reshape(3, 4, 5), 50), (1, 1, 1)), r"is masked.*array\.filled\(value\)"),
    ],
)
def test_what_is_no_image_is_refused(content: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MemoryImage(content)
