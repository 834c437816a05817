"""Lesions are counted and matched as by hand; without panoptica nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.evaluation import lesions as module
from nnunet_missingmod.evaluation.lesions import LesionScore, are_available, lesion_score

needs_panoptica = pytest.mark.skipif(not are_available(), reason="panoptica, the extra [lesions], is not installed")


def boxes(*corners, shape=(24, 24, 12)):
    mask = np.zeros(shape, bool)
    for low, high in corners:
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


FOUND, SMALL, LOST = ((1, 1, 1), (7, 7, 7)), ((12, 12, 2), (14, 14, 4)), ((18, 2, 2), (22, 6, 6))


@needs_panoptica
def test_lesions_are_matched_from_half_of_their_union_on():
    reference = boxes(FOUND, SMALL, LOST)
    shorter = ((2, 1, 1), (7, 7, 7))  # 180 of 216 voxels
    aside = ((13, 12, 2), (15, 14, 4))  # 4 of 12
    score = lesion_score(boxes(shorter, aside), reference)
    assert (score.reference, score.predicted, score.matched) == (3, 2, 1)
    assert score.dice == pytest.approx(2 * 180 / (180 + 216))


@needs_panoptica
def test_empty_masks_have_no_lesion_and_match_none():
    empty, one = boxes(), boxes(FOUND, SMALL)
    assert lesion_score(one, one) == LesionScore(2, 2, 2, 1.0)
    for predicted, reference, counts in ((empty, one, (2, 0)), (one, empty, (0, 2)), (empty, empty, (0, 0))):
        score = lesion_score(predicted, reference)
        assert (score.reference, score.predicted, score.matched) == (*counts, 0)
        assert np.isnan(score.dice)


@needs_panoptica
def test_corners_connect_in_three_axes_and_sides_in_two():
    corners = np.zeros((6, 6, 6), bool)
    corners[range(6), range(6), range(6)] = True
    assert lesion_score(corners, corners) == LesionScore(1, 1, 1, 1.0)
    assert lesion_score(np.eye(6, dtype=bool), np.eye(6, dtype=bool)) == LesionScore(6, 6, 6, 1.0)


@needs_panoptica
def test_nothing_is_printed(capfd):
    module._evaluator.cache_clear()
    lesion_score(boxes(FOUND), boxes(FOUND))
    assert capfd.readouterr().out == ""
