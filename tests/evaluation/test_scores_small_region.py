from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation.evaluation_rows import row

from nnunet_missingmod.evaluation.scores import rule_name, score_rows, with_least_size
from nnunet_missingmod.evaluation.scoring import CaseScorer

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@pytest.mark.parametrize("reference_has_et", [False, True])
@pytest.mark.parametrize("voxels", [1, 8, 9, 50])
def test_the_rule_equals_relabelling_the_prediction_and_scoring_it_again(reference_has_et, voxels):
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[1:6, 1:6, 1:6] = 2
    if reference_has_et:
        reference[2:4, 2:5, 2:5] = 3
    prediction = np.zeros_like(reference)
    prediction[1:6, 1:6, 2:7] = 2
    prediction[2:4, 2:4, 2:4] = 3  # 8 voxels
    relabelled = prediction.copy()
    if np.count_nonzero(prediction == 3) < voxels:
        relabelled[prediction == 3] = 1
    scorer = CaseScorer(reference, (1.0, 2.0, 1.0), REGIONS)
    about = {"model": "m", "fold": "0", "case": "c", "subset": (0,), "modalities": ("A", "B")}
    raw = score_rows(scorer.score(prediction), **about)
    ruled = {each.region: each for each in with_least_size(raw, region="ET", voxels=voxels)}
    again = {each.region: each for each in score_rows(scorer.score(relabelled), **about)}
    expected = replace(again["ET"], region=rule_name("ET", voxels))
    assert str(ruled[f"ET ≥ {voxels}"]) == str(expected)  # as text, since NaN is not equal to itself
    # The other regions hold the relabelled voxels under either label.
    assert (ruled["WT"], ruled["TC"]) == (again["WT"], again["TC"])
    assert len(ruled) == 4


def test_raw_rows_stay_and_come_first():
    rows = [row(0.5, predicted=3), row(0.5, region="WT", predicted=3), row(0.5, case="c1", predicted=500)]
    found = with_least_size(rows, region="ET", voxels=500)
    assert found[:3] == rows
    assert [(each.case, each.region, each.dice) for each in found[3:]] == [
        ("c0", "ET ≥ 500", 0.0), ("c1", "ET ≥ 500", 0.5),
    ]  # fmt: skip
    assert math.isinf(found[3].hd95_mm)


def test_a_rule_for_nothing_is_refused():
    with pytest.raises(ValueError, match="1 voxel or more, got 0"):
        with_least_size([row(0.5)], region="ET", voxels=0)
    with pytest.raises(ValueError, match="no region 'TC'; the regions are ET"):
        with_least_size([row(0.5)], region="TC", voxels=5)
