from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_dilation, gaussian_filter

from nnunet_missingmod.evaluation.metrics import Surface, surface_scores

SPACING = (3.0, 1.0, 0.5)
masks = arrays(bool, st.sampled_from([(3, 4, 5), (4, 4), (1, 5, 3), (7,)]))


def surface_by_loops(mask, spacing_mm):
    """Return the points of voxels that have a face neighbour outside of the mask or lie at the border."""
    points = []
    for index in product(*map(range, mask.shape)):
        if not mask[index]:
            continue
        for axis, step in product(range(mask.ndim), (-1, 1)):
            beside = list(index)
            beside[axis] += step
            inside = 0 <= beside[axis] < mask.shape[axis]
            if not inside or not mask[tuple(beside)]:
                points.append([position * size for position, size in zip(index, spacing_mm, strict=True)])
                break
    return points


def percentile_by_hand(values, percent):
    """Linear interpolation between order statistics."""
    ranked = sorted(values)
    place = percent / 100 * (len(ranked) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def scores_by_loops(prediction, reference, spacing_mm, tolerance_mm):
    first, second = surface_by_loops(prediction, spacing_mm), surface_by_loops(reference, spacing_mm)
    there = [min(math.dist(a, b) for b in second) for a in first]
    back = [min(math.dist(a, b) for a in first) for b in second]
    within = sum(distance <= tolerance_mm for distance in [*there, *back])
    return max(percentile_by_hand(there, 95), percentile_by_hand(back, 95)), within / (len(there) + len(back))


def scores(prediction, reference, spacing_mm, tolerance_mm=1.0):
    return surface_scores(Surface(prediction, spacing_mm), Surface(reference, spacing_mm), tolerance_mm=tolerance_mm)


@given(masks, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.7, 1.0, 3.2]))
@settings(deadline=None)
def test_scores_equal_plain_loops_over_all_pairs_of_surface_voxels(prediction, seed, tolerance_mm):
    reference = np.random.default_rng(seed).uniform(size=prediction.shape) < 0.5
    spacing_mm = SPACING[: prediction.ndim]
    if not prediction.any() or not reference.any():
        return
    expected = scores_by_loops(prediction, reference, spacing_mm, tolerance_mm)
    assert scores(prediction, reference, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=1e-9)


def blob(shape, seed, level=0.4):
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return field > level * field.std()


# MONAI's own call of its deprecated argument.
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.0, 0.9, 0.7)])
@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_those_of_monai(seed, spacing_mm):
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    prediction, reference = blob((14, 18, 16), seed), blob((14, 18, 16), seed + 100)
    if seed == 3:
        prediction = binary_dilation(reference)
    batch = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, reference)]
    hd95 = metrics.compute_hausdorff_distance(*batch, include_background=True, percentile=95, spacing=spacing_mm)
    nsd = metrics.compute_surface_dice(*batch, [1.0], include_background=True, spacing=spacing_mm)
    found = scores(prediction, reference, spacing_mm)
    assert found == pytest.approx((float(hd95), float(nsd)), abs=1e-5)


def test_two_voxels_are_as_far_apart_as_their_centres():
    prediction, reference = np.zeros((2, 5, 5, 5), bool)
    prediction[1, 1, 1] = reference[2, 3, 1] = True
    assert scores(prediction, reference, SPACING, 3.6) == pytest.approx((math.sqrt(3**2 + 2**2), 0.0))
    assert scores(prediction, reference, SPACING, 3.61)[1] == 1.0
    assert scores(prediction, reference, (1.0, 1.0, 1.0))[0] == pytest.approx(math.sqrt(5))


def test_a_shifted_cube_has_the_distances_counted_by_hand():
    prediction, reference = np.zeros((2, 9, 9, 9), bool)
    reference[2:5, 2:5, 2:5] = prediction[2:5, 2:5, 3:6] = True
    # All of the 27 voxels but the centre are surface. Of each cube, the 9 of the far side have no counterpart and the
    # centre of the other cube is none either: 10 at 1 voxel of 2 mm, 16 at 0.
    assert scores(prediction, reference, (2.0, 2.0, 2.0), 1.9) == pytest.approx((2.0, 32 / 52))
    assert scores(prediction, reference, (2.0, 2.0, 2.0), 2.0) == (2.0, 1.0)


@pytest.mark.parametrize("spacing_mm", [0.1, 0.3, 0.7, 1.1])
def test_a_neighbour_is_within_a_tolerance_of_one_voxel_whatever_the_rounding(spacing_mm):
    prediction, reference = np.zeros((2, 40), bool)
    prediction[11:14] = reference[12:15] = True
    assert scores(prediction, reference, (spacing_mm,), spacing_mm)[1] == 1.0


def test_identical_masks_have_no_distance_and_full_agreement():
    mask = blob((8, 9, 10), 0)
    assert scores(mask, mask, SPACING, 0.0) == (0.0, 1.0)


def test_an_empty_mask_is_infinitely_far_and_two_have_no_distance():
    empty, voxel = np.zeros((2, 3, 3), bool)
    voxel[1, 1] = True
    for prediction, reference in ((empty, voxel), (voxel, empty)):
        assert scores(prediction, reference, (1.0, 1.0)) == (math.inf, 0.0)
    assert all(math.isnan(score) for score in scores(empty, empty, (1.0, 1.0)))


@given(arrays(bool, (4, 5, 3)), arrays(bool, (4, 5, 3)))
@settings(deadline=None)
def test_scores_are_symmetric(first, second):
    forward, backward = scores(first, second, SPACING), scores(second, first, SPACING)
    np.testing.assert_array_equal(forward, backward)


def test_the_origin_moves_the_surface():
    mask = np.ones((1, 1), bool)
    moved = Surface(mask, (2.0, 3.0), origin=(4, 5))
    np.testing.assert_array_equal(moved.points_mm, [[8.0, 15.0]])
    assert moved.distances_mm(Surface(mask, (2.0, 3.0))) == pytest.approx([17.0])


def test_spacing_and_tolerance_that_make_no_sense_are_refused():
    mask = np.ones((2, 2), bool)
    with pytest.raises(ValueError, match=r"2 axes .*\(1.0, 1.0, 1.0\)"):
        Surface(mask, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="positive"):
        Surface(mask, (1.0, 0.0))
    with pytest.raises(ValueError, match="positive"):
        Surface(mask, (1.0, math.nan))
    surface = Surface(mask, (1.0, 1.0))
    for tolerance_mm in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            surface_scores(surface, surface, tolerance_mm=tolerance_mm)
