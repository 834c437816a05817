"""Label maps as each of nnU-Net's readers gives them, and what counts as one grid."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunet_missingmod.evaluation.label_maps import (
    LabelFile,
    check_same_grid,
    label_file_of,
    read_label_map,
    relabelled,
)
from nnunet_missingmod.evaluation.scoring import score_files

LABELS = np.zeros((4, 6, 8), np.uint8)
LABELS[1:3, 1:5, 2:6] = 1
SPACING = (3.0, 2.0, 1.0)
REGIONS = {"a": (1,)}


def reading(reader):
    return lambda path: label_file_of(*reader.read_seg(str(path)), source=path)


@pytest.mark.parametrize("reader", [SimpleITKIO(), NibabelIO()])
def test_readers_of_nifti_give_labels_spacing_direction_and_origin_as_simpleitk(tmp_path, reader):
    image = sitk.GetImageFromArray(LABELS)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((0, -1.0, 0, 1.0, 0, 0, 0, 0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    found, expected = reading(reader)(tmp_path / "a.nii.gz"), read_label_map(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found.labels, expected.labels)
    for name in ("spacing_mm", "direction", "origin_mm"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-5), name
    np.testing.assert_allclose(found.corners_mm(), expected.corners_mm(), atol=1e-4)


def test_the_reorienting_reader_takes_both_files_to_one_orientation(tmp_path):
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    file = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(LABELS.T, affine), file)
    turned = nibabel.as_closest_canonical(nibabel.load(file))
    nibabel.save(turned, tmp_path / "b.nii.gz")
    found = score_files({0: tmp_path / "b.nii.gz"}, file, REGIONS, case="c", read=reading(NibabelIOWithReorient()))
    assert found.scores[0]["a"].dice == 1.0
    assert "along" in score_files({0: tmp_path / "b.nii.gz"}, file, REGIONS, case="c").refused[0]


def test_a_header_that_simpleitk_refuses_is_scored_by_the_datasets_reader(tmp_path):
    image = nibabel.Nifti1Image(LABELS.T, None)
    image.set_sform(np.array([[1.0, 0.3, 0, 5], [0, 2.0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]]), code=1)
    image.set_qform(None, code=0)
    file = tmp_path / "a.nii.gz"
    nibabel.save(image, file)
    assert "cannot be read" in score_files({0: file}, file, REGIONS, case="c").refused[0]
    found = score_files({0: file}, file, REGIONS, case="c", read=reading(NibabelIO()))
    assert found.scores[0]["a"].dice == 1.0


def test_the_spacing_beside_a_tiff_counts(tmp_path):
    import tifffile

    for name, labels in (("r", LABELS), ("p", np.roll(LABELS, 1, axis=0))):
        tifffile.imwrite(tmp_path / f"{name}.tif", labels, photometric="minisblack")
        (tmp_path / f"{name}.json").write_text(json.dumps({"spacing": [3.0, 2.0, 1.0]}))
    found = score_files({0: tmp_path / "p.tif"}, tmp_path / "r.tif", REGIONS, case="c", read=reading(Tiff3DIO()))
    assert found.scores[0]["a"].hd95_mm == pytest.approx(3.0)
    assert found.scores[0]["a"].diagonal_mm == pytest.approx(np.linalg.norm([12, 12, 8]))


@pytest.mark.parametrize(("reader", "ending"), [(NaturalImage2DIO(), ".png"), (SimpleITKIO(), ".nii.gz")])
def test_an_image_of_two_dimensions_has_no_third_axis(tmp_path, reader, ending):
    file, shifted = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(LABELS[1]), str(file))
    sitk.WriteImage(sitk.GetImageFromArray(np.roll(LABELS[1], 1, axis=0)), str(shifted))
    found = reading(reader)(file)
    assert (found.labels.shape, found.spacing_mm) == ((6, 8), (1.0, 1.0))
    scores = score_files({0: shifted}, file, REGIONS, case="c", read=reading(reader)).scores[0]["a"]
    assert scores.diagonal_mm == pytest.approx(10.0)
    assert scores == score_files({0: shifted}, file, REGIONS, case="c").scores[0]["a"]


def test_a_volume_of_one_slice_keeps_its_thickness(tmp_path):
    image = sitk.GetImageFromArray(LABELS[1:2])
    image.SetSpacing((1.0, 1.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    found = reading(SimpleITKIO())(tmp_path / "a.nii.gz")
    assert (found.labels.shape, found.spacing_mm) == ((1, 6, 8), (5.0, 1.0, 1.0))


@pytest.mark.parametrize("segmentation", [np.zeros((2, 3, 4, 5)), np.zeros((3, 1, 4, 5)), np.full((1, 3, 4, 5), 0.5)])
def test_what_is_no_label_map_is_refused(tmp_path, segmentation):
    with pytest.raises(ValueError, match=r"a\.tif (holds . channels|is no label map)"):
        label_file_of(segmentation, {"spacing": (1, 1, 1)}, source=tmp_path / "a.tif")


def test_new_labels_replace_all_at_once_and_only_in_the_reference(tmp_path, write_volume):
    labels = np.array([[0, 1, 2, 4]], np.uint8)
    np.testing.assert_array_equal(relabelled(labels, {4: 3}), [[0, 1, 2, 3]])
    np.testing.assert_array_equal(relabelled(labels, {1: 2, 2: 1, 4: 300}), [[0, 2, 1, 300]])
    assert relabelled(labels, {}) is labels
    old, new = LABELS.copy(), LABELS.copy()
    old[LABELS == 1], new[LABELS == 1] = 4, 3
    reference, prediction = write_volume("r.nii.gz", old), write_volume("p.nii.gz", new)
    assert score_files({0: prediction}, reference, {"ET": (3,)}, case="c").scores[0]["ET"].dice == 0.0
    found = score_files({0: prediction, 1: reference}, reference, {"ET": (3,)}, case="c", new_labels={4: 3})
    assert (found.scores[0]["ET"].dice, found.scores[1]["ET"].dice) == (1.0, 0.0)


def moved(origin=(0.0, 0.0, 0.0), direction=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)):
    return LabelFile(LABELS, SPACING, direction, origin)


def test_a_prediction_that_lies_elsewhere_is_named_and_not_scored(write_volume, tmp_path):
    check_same_grid(moved((0.05, 0.0, 0.0)), moved(), case="c1")
    with pytest.raises(ValueError, match=r"c1: .*lies 5 voxels off the reference \(first voxels at \(0.0, 5.0, 0.0\)"):
        check_same_grid(moved((0.0, 5.0, 0.0)), moved(), case="c1")
    turn = np.radians(2)  # below what is said of directions, but not of positions
    turned = (np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn), 0, 0, 0, 1.0)
    with pytest.raises(ValueError, match="c1: .*voxels off the reference"):
        check_same_grid(moved(direction=turned), moved(), case="c1")
    with pytest.raises(ValueError, match="c1: .*voxels off the reference"):
        check_same_grid(moved((np.nan, 0.0, 0.0)), moved(), case="c1")
    right = write_volume("right.nii.gz", LABELS, SPACING)
    image = sitk.ReadImage(str(right))
    image.SetOrigin((0.0, 0.0, 40.0))
    sitk.WriteImage(image, str(tmp_path / "off.nii.gz"))
    found = score_files({"T1": right, "T2": tmp_path / "off.nii.gz"}, right, REGIONS, case="c1")
    assert list(found.scores) == ["T1"]
    assert "lies 40 voxels off the reference" in found.refused["T2"]
