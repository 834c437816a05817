"""A prediction lies along the axes of the first image, whatever its reader did to them, and is saved as before."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod import Predictor

READERS = ["SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient"]


@pytest.fixture
def model_of(make_tiny_dataset, make_model):
    def make(reader):
        tiny = make_tiny_dataset(num_cases=1, reader=reader)
        folder = make_model(tiny, "nnUNetTrainerModalityDropout")
        return tiny, Predictor.from_model_folder(folder, device="cpu")

    return make


def placed(file, orientation="LPS"):
    """The image of a file with voxels of three sizes, stored along these axes."""
    image = sitk.ReadImage(str(file))
    image.SetSpacing((1.5, 1.0, 1.25))
    image.SetOrigin((-30.5, 11.0, 4.25))
    return sitk.DICOMOrient(image, orientation)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("orientation", ["LPS", "PIR"])
def test_labels_lie_on_the_first_image_voxel_by_voxel(model_of, tmp_path, reader, orientation):
    tiny, predictor = model_of(reader)
    image = placed(tiny.image("case_000", 1), orientation)
    sitk.WriteImage(image, str(tmp_path / "t1.nii.gz"))
    made = predictor.predict({"T1": tmp_path / "t1.nii.gz"}, probabilities=True)
    assert len(np.unique(made.array)) > 1
    made.save(tmp_path / "out" / "made.nii.gz")
    saved = sitk.ReadImage(str(tmp_path / "out" / "made.nii.gz"))
    np.testing.assert_array_equal(made.array, sitk.GetArrayFromImage(saved))
    np.testing.assert_array_equal(made.array, made.probabilities.argmax(0))
    np.testing.assert_allclose(made.spacing_mm, image.GetSpacing()[::-1])
    in_memory = made.to_simpleitk()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(in_memory), made.array)
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(in_memory, part)(), getattr(image, part)(), atol=1e-5)
        np.testing.assert_allclose(getattr(saved, part)(), getattr(image, part)(), atol=1e-5)
    # nnUNetv2_ensemble reads probabilities along the reader's axes.
    maps = np.load(tmp_path / "out" / "made.npz")["probabilities"]
    of_reader = predictor.reader.read_seg(str(tmp_path / "out" / "made.nii.gz"))[0][0]
    np.testing.assert_array_equal(maps.argmax(0), of_reader)


@pytest.mark.parametrize("reader", READERS)
def test_labels_lie_on_the_array_that_was_given(model_of, tmp_path, reader):
    tiny, predictor = model_of(reader)
    image = placed(tiny.image("case_000", 1))
    image.SetOrigin((0, 0, 0))
    given = predictor.predict({"T1": (sitk.GetArrayFromImage(image), image.GetSpacing()[::-1])})
    predictor.predict({"T1": image}).save(tmp_path / "of_image.nii.gz")
    expected = sitk.ReadImage(str(tmp_path / "of_image.nii.gz"))
    np.testing.assert_array_equal(given.array, sitk.GetArrayFromImage(expected))
    assert given.spacing_mm == image.GetSpacing()[::-1]


@pytest.mark.parametrize("reader", ["SimpleITKIOWithReorient", "NibabelIOWithReorient"])
def test_of_images_with_other_axes_the_first_channels_count(model_of, reader):
    tiny, predictor = model_of(reader)
    t1, t2 = placed(tiny.image("case_000", 1), "PIR"), placed(tiny.image("case_000", 3))
    made = predictor.predict({"T2": t2, "T1": t1})
    assert made.present == ("T1", "T2")
    assert made.array.shape == sitk.GetArrayFromImage(t1).shape != sitk.GetArrayFromImage(t2).shape
