from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnunet_missingmod.evaluation.metrics import Surface, region_dice, surface_scores
from nnunet_missingmod.evaluation.scoring import CaseScorer, bounding_box

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
SPACING = (2.0, 1.0, 1.5)
label_maps = arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 1, 2, 3, 4]))


@given(label_maps, label_maps, st.sampled_from([None, 4]))
@settings(deadline=None)
def test_cutting_out_the_box_changes_nothing(prediction, reference, ignore_label):
    found = CaseScorer(reference, SPACING, REGIONS, ignore_label=ignore_label).score(prediction)
    counted = np.ones(reference.shape, bool) if ignore_label is None else reference != ignore_label
    dice = region_dice(prediction, reference, REGIONS, ignore_label=ignore_label, both_empty="nan")
    for name, region in REGIONS.items():
        masks = [np.isin(labels, region) & counted for labels in (prediction, reference)]
        hd95_mm, nsd = surface_scores(*(Surface(mask, SPACING) for mask in masks), tolerance_mm=1.0)
        score = found[name]
        np.testing.assert_allclose(
            (score.dice, score.hd95_mm, score.nsd), (dice[name], hd95_mm, nsd), rtol=1e-12, atol=1e-12
        )
        assert (score.predicted_voxels, score.reference_voxels) == tuple(int(mask.sum()) for mask in masks)


def test_every_prediction_is_scored_on_its_own():
    rng = np.random.default_rng(0)
    reference, *predictions = rng.choice([0, 0, 0, 0, 1, 2, 3], size=(9, 6, 7, 8))
    predictions.append(np.zeros_like(reference))
    scorer = CaseScorer(reference, SPACING, REGIONS)
    alone = [CaseScorer(reference, SPACING, REGIONS).score(prediction) for prediction in predictions]
    assert [scorer.score(prediction) for prediction in predictions] == alone
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(scorer.score, predictions)) == alone


def test_raw_scores_of_empty_masks_are_left_open():
    empty, full = np.zeros((2, 3, 3, 3), np.uint8)
    full[1, 1, 1] = 3
    both = CaseScorer(empty, SPACING, REGIONS).score(empty)["ET"]
    assert all(map(math.isnan, (both.dice, both.hd95_mm, both.nsd)))
    assert (both.reference_voxels, both.predicted_voxels) == (0, 0)
    false = CaseScorer(empty, SPACING, REGIONS).score(full)["ET"]
    missed = CaseScorer(full, SPACING, REGIONS).score(empty)["ET"]
    for score in (false, missed):
        assert (score.dice, score.hd95_mm, score.nsd) == (0.0, math.inf, 0.0)
    assert (false.reference_voxels, false.predicted_voxels) == (0, 1)
    assert (missed.reference_voxels, missed.predicted_voxels) == (1, 0)


def test_the_diagonal_is_that_of_the_image_in_mm():
    empty = np.zeros((155, 240, 240), np.uint8)
    score = CaseScorer(empty, (1.0, 1.0, 1.0), {"ET": (3,)}).score(empty)["ET"]
    assert score.diagonal_mm == pytest.approx(373.13, abs=0.005)
    assert score.nsd_tolerance_mm == 1.0


def test_two_dimensional_label_maps_are_scored():
    reference = np.zeros((6, 7), np.int64)
    reference[2:4, 2:4] = 1
    score = CaseScorer(reference, (1.0, 1.0), {"a": (1,)}, tolerance_mm=0.5).score(np.roll(reference, 1, 1))["a"]
    assert (score.dice, score.hd95_mm, score.nsd) == (0.5, 1.0, 0.5)


def test_a_picture_of_two_axes_has_no_volume():
    flat, solid = np.ones((6, 7), np.uint8), np.ones((2, 6, 7), np.uint8)
    assert math.isnan(CaseScorer(flat, (1.0, 1.0), {"a": (1,)}).score(flat)["a"].voxel_mm3)
    assert CaseScorer(solid, (3.0, 0.5, 2.0), {"a": (1,)}).score(solid)["a"].voxel_mm3 == 3.0


def test_the_box_is_the_smallest_that_holds_all():
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 6] = True
    np.testing.assert_array_equal(bounding_box(mask), [[1, 2, 3], [4, 3, 7]])
    np.testing.assert_array_equal(bounding_box(np.zeros((2, 2), bool)), np.zeros((2, 2)))


def test_what_cannot_be_scored_is_refused():
    reference = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match="no regions"):
        CaseScorer(reference, (1.0, 1.0), {})
    with pytest.raises(ValueError, match="spacing"):
        CaseScorer(reference, (1.0,), {"a": (1,)})
    with pytest.raises(ValueError, match="tolerance"):
        CaseScorer(reference, (1.0, 1.0), {"a": (1,)}, tolerance_mm=-1.0)
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(2, 3\)"):
        CaseScorer(reference, (1.0, 1.0), {"a": (1,)}).score(reference.T)
