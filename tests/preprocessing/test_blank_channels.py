"""A channel of one value is found again in what nnU-Net's own preprocessor made of it, and no other channel is."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_missingmod.preprocessing.blank_channels import constant_channels

SCHEMES = ("ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization")


def make_blank(file, value):
    image = sitk.ReadImage(str(file))
    blank = sitk.GetImageFromArray(np.full_like(sitk.GetArrayFromImage(image), value))
    blank.CopyInformation(image)
    sitk.WriteImage(blank, str(file))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("value", [0, 7.3, -1024])
@pytest.mark.parametrize("spacing", [1.0, 0.7])
def test_it_is_found_under_every_normalisation_and_resampling(
    make_tiny_dataset, preprocess, scheme, masked, value, spacing
):
    tiny = make_tiny_dataset(schemes=[scheme] * 4, num_cases=1)
    configuration = tiny.plans["configurations"]["3d_fullres"]
    configuration["use_mask_for_norm"] = [masked] * 4
    configuration["spacing"] = [spacing] * 3
    for channel in (1, 3):
        make_blank(tiny.image("case_000", channel), value)
    folder = preprocess(tiny, "3d_fullres")
    data, seg, _, _ = nnUNetDatasetBlosc2(str(folder), ["case_000"]).load_case("case_000")
    np.testing.assert_array_equal(constant_channels(data, seg), [False, True, False, True])


def test_one_other_voxel_anywhere_inside_is_enough_and_outside_it_is_none():
    data = np.full((2, 40, 40, 40), -0.998, np.float32)
    seg = np.zeros((1, 40, 40, 40), np.int16)
    data[0, 1, 2, 3] = -0.997
    np.testing.assert_array_equal(constant_channels(data, seg), [False, True])
    seg[0, :2] = -1
    np.testing.assert_array_equal(constant_channels(data, seg), [True, True])


def test_small_values_are_told_apart_and_rounding_is_not():
    rng = np.random.default_rng(0)
    data = np.stack([rng.uniform(0, 1e-9, (9, 9, 9)), 1e-9 * (1 + rng.uniform(0, 1e-7, (9, 9, 9)))]).astype(np.float32)
    np.testing.assert_array_equal(constant_channels(data, np.zeros((1, 9, 9, 9))), [False, True])


def test_most_channels_are_told_by_their_middle():
    class Counted:
        def __init__(self, array):
            self.array, self.shape, self.voxels = array, array.shape, 0

        def __getitem__(self, index):
            part = self.array[index]
            self.voxels += part.size
            return part

    data = Counted(np.random.default_rng(0).normal(size=(4, 60, 60, 60)).astype(np.float32))
    assert not constant_channels(data, np.zeros((1, 60, 60, 60))).any()
    assert data.voxels < 4 * 20**3


def test_a_case_without_any_voxel_inside_is_judged_by_all_of_them():
    data = np.stack([np.zeros((5, 5, 5)), np.arange(125.0).reshape(5, 5, 5)])
    np.testing.assert_array_equal(constant_channels(data, np.full((1, 5, 5, 5), -1)), [True, False])
