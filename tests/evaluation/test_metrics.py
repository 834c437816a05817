from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnunet_missingmod.evaluation.metrics import dice, region_dice, region_mask

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
label_maps = arrays(np.uint8, (3, 4, 2), elements=st.integers(0, 4))


def dice_by_loops(prediction, reference, region, ignore_label, empty):
    both = first = second = 0
    for index in product(*map(range, prediction.shape)):
        if reference[index] == ignore_label:
            continue
        in_prediction, in_reference = int(prediction[index]) in region, int(reference[index]) in region
        both += in_prediction and in_reference
        first += in_prediction
        second += in_reference
    return 2 * both / (first + second) if first + second else empty


@given(label_maps, label_maps, st.sampled_from([None, 4]))
def test_dice_of_regions_equals_plain_loops(prediction, reference, ignore_label):
    scores = region_dice(prediction, reference, REGIONS, ignore_label=ignore_label)
    assert list(scores) == list(REGIONS)
    for name, region in REGIONS.items():
        assert scores[name] == pytest.approx(dice_by_loops(prediction, reference, region, ignore_label, 1.0), abs=1e-12)


def test_two_empty_masks_are_one_by_brats_and_nan_by_nnunet():
    empty = np.zeros((2, 3), bool)
    assert dice(empty, empty) == 1.0
    assert dice(empty, empty, both_empty="one") == 1.0
    assert math.isnan(dice(empty, empty, both_empty="nan"))


@pytest.mark.parametrize("both_empty", ["one", "nan"])
def test_one_empty_mask_is_zero_in_both_conventions(both_empty):
    empty, voxel = np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    voxel[1, 1] = True
    assert dice(empty, voxel, both_empty=both_empty) == 0.0
    assert dice(voxel, empty, both_empty=both_empty) == 0.0
    assert dice(voxel, voxel, both_empty=both_empty) == 1.0


@given(arrays(bool, (4, 5)), arrays(bool, (4, 5)))
def test_dice_is_symmetric_and_within_its_bounds(first, second):
    assert 0.0 <= dice(first, second) == dice(second, first) <= 1.0


def test_a_region_that_only_ignored_voxels_hold_is_empty():
    reference = np.array([4, 4, 0, 0])
    prediction = np.array([1, 1, 0, 0])
    assert region_dice(prediction, reference, {"a": (1,)}) == {"a": 0.0}
    assert region_dice(prediction, reference, {"a": (1,)}, ignore_label=4) == {"a": 1.0}


def test_region_mask_holds_every_label_of_the_region_and_no_other():
    np.testing.assert_array_equal(region_mask(np.array([0, 1, 2, 3, 4]), (1, 3)), [False, True, False, True, False])


def test_masks_that_cannot_be_compared_are_refused():
    mask = np.zeros((2, 3), bool)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 2\)"):
        dice(mask, mask.T)
    with pytest.raises(ValueError, match="uint8"):
        dice(mask.astype(np.uint8), mask)
    with pytest.raises(ValueError, match="'zero'"):
        dice(mask, mask, both_empty="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        region_dice(np.zeros((2, 3)), np.zeros((1, 3)), REGIONS, ignore_label=4)
