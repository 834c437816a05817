"""A label map is read if it is whole, on the images' grid, and holds labels; otherwise it is said why not."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunet_missingmod.cases.labels import Grid, read_label_file

LABELS = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint8)


@pytest.fixture
def file(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(LABELS), str(tmp_path / "labels.nii.gz"))
    return tmp_path / "labels.nii.gz"


@pytest.fixture
def grid(file):
    return Grid((5, 6, 7), SimpleITKIO().read_seg(str(file))[1])


def rewrite(file, array, origin=(0.0, 0.0, 0.0)):
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(file))


def test_good_label_map_is_returned(file, grid):
    np.testing.assert_array_equal(read_label_file(file, SimpleITKIO(), grid, labels=range(4))[0], LABELS)


def test_whole_numbers_in_a_floating_point_file_are_labels(file, grid):
    rewrite(file, LABELS.astype(np.float32))
    np.testing.assert_array_equal(read_label_file(file, SimpleITKIO(), grid)[0], LABELS)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.unlink(), "is not there"),
        (lambda file: file.write_bytes(file.read_bytes()[:-20]), "cannot be read: the file is truncated"),
        (lambda file: file.write_bytes(b"no image"), "cannot be read: the file is damaged"),
        (lambda file: rewrite(file, LABELS[1:]), r"has shape \(4, 6, 7\), the images have \(5, 6, 7\)"),
        (lambda file: rewrite(file, LABELS * 0.5), "holds values that are not whole numbers"),
        *(
            (lambda file, wrong=wrong: rewrite(file, np.where(LABELS == 1, wrong, LABELS).astype(np.float32)), "whole")
            for wrong in (1e30, -1e30)
        ),
        (lambda file: rewrite(file, np.where(LABELS == 1, np.nan, LABELS).astype(np.float32)), "not whole numbers"),
        (lambda file: rewrite(file, LABELS + 2), r"holds 4, 5, but the dataset's labels are \[0, 1, 2, 3\]"),
        (lambda file: rewrite(file, LABELS, origin=(0.0, 3.0, 0.0)), "lies 3 voxels off the images' grid"),
    ],
)
def test_anything_else_is_refused(file, grid, spoil, said):
    spoil(file)
    with pytest.raises(ValueError, match=said):
        read_label_file(file, SimpleITKIO(), grid, labels=range(4), tolerance_voxels=0.1)


def test_many_foreign_labels_are_not_all_listed(file, grid):
    rewrite(file, np.arange(210, dtype=np.uint8).reshape(5, 6, 7))
    with pytest.raises(ValueError, match="holds 4, 5, 6, 7, 8 and others, but"):
        read_label_file(file, SimpleITKIO(), grid, labels=range(4))


def test_position_is_nobodys_business_without_a_tolerance(file, grid):
    rewrite(file, LABELS, origin=(0.0, 3.0, 0.0))
    np.testing.assert_array_equal(read_label_file(file, SimpleITKIO(), grid)[0], LABELS)


def test_truncated_tif_is_refused(tmp_path):
    file = tmp_path / "labels.tif"
    voxels = np.random.default_rng(0).integers(0, 4, (12, 64, 64)).astype(np.uint8)
    tifffile.imwrite(file, voxels, compression="zlib", metadata=None)
    grid = Grid((12, 64, 64), {"spacing": (1, 1, 1)})
    read_label_file(file, Tiff3DIO(), grid)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    with pytest.raises(ValueError, match="labels.tif"):
        read_label_file(file, Tiff3DIO(), grid)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_infinity_is_no_label_in_any_format(tmp_path, grid, ending, value):
    file = tmp_path / f"case{ending}"
    rewrite(file, np.where(LABELS == 1, value, LABELS).astype(np.float32))
    with pytest.raises(ValueError, match="holds values that are not whole numbers"):
        read_label_file(file, SimpleITKIO(), grid)
