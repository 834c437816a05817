from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod.evaluation.label_maps import LabelFile, as_label_map, check_same_grid, read_label_map

LABELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 4


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_of_any_number_type_are_read_as_integers_with_spacing_in_the_order_of_the_axes(write_volume, dtype):
    file = read_label_map(write_volume("a.nii.gz", LABELS.astype(dtype), (3.0, 2.0, 1.0)))
    assert np.issubdtype(file.labels.dtype, np.integer)
    np.testing.assert_array_equal(file.labels, LABELS)
    assert file.spacing_mm == pytest.approx((3.0, 2.0, 1.0))


def test_probabilities_are_not_taken_for_labels(write_volume):
    with pytest.raises(ValueError, match="not whole numbers"):
        read_label_map(write_volume("a.nii.gz", np.full((2, 2, 2), 0.5, np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_is_no_label(value):
    image = sitk.GetImageFromArray(np.full((2, 2, 2), value, np.float32))
    with pytest.raises(ValueError, match="not whole numbers"):
        as_label_map(image, source=Path("a.nii.gz"))


def test_a_file_that_is_missing_or_no_image_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.nii\.gz does not exist"):
        read_label_map(tmp_path / "gone.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.nii\.gz cannot be read"):
        read_label_map(tmp_path / "text.nii.gz")


def test_only_one_grid_passes_up_to_rounding_of_the_spacing():
    reference = LabelFile(LABELS, (3.0, 2.0, 1.0))
    check_same_grid(LabelFile(LABELS, (3.0000002, 2.0, 1.0)), reference, case="c1")
    with pytest.raises(ValueError, match=r"c1: .*\(4, 3, 2\).*\(2, 3, 4\)"):
        check_same_grid(LabelFile(LABELS.T, (3.0, 2.0, 1.0)), reference, case="c1")
    with pytest.raises(ValueError, match=r"c1: .*spacing \(3.1, 2.0, 1.0\)"):
        check_same_grid(LabelFile(LABELS, (3.1, 2.0, 1.0)), reference, case="c1")


def test_a_flipped_grid_is_refused_and_rounding_is_not(write_volume):
    def read(name, direction):
        return read_label_map(write_volume(name, LABELS, (3.0, 2.0, 1.0), direction=direction))

    straight, flipped = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)
    turned = np.array([[1, 2e-4, 0], [-2e-4, 1, 0], [0, 0, 1]]) / np.sqrt([[1 + 4e-8], [1 + 4e-8], [1]])
    reference = read("r.nii.gz", straight)
    check_same_grid(read("a.nii.gz", straight), reference, case="c1")
    check_same_grid(read("b.nii.gz", tuple(turned.ravel())), reference, case="c1")
    with pytest.raises(ValueError, match=r"c1: .*along \(-1.0, 0.0.*reference's along \(1.0, 0.0.*header"):
        check_same_grid(read("c.nii.gz", flipped), reference, case="c1")
    check_same_grid(LabelFile(LABELS, (3.0, 2.0, 1.0)), reference, case="c1")
