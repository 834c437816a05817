from __future__ import annotations

import math

import pytest
from evaluation.evaluation_rows import AB, row

from nnunet_missingmod.evaluation.detection import detections
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.score_grid import grid_of
from nnunet_missingmod.evaluation.scores import with_least_size

QUICK = Bootstrap(resamples=100)
# Voxels of reference and prediction: two found, one missed, one made up (500 voxels, 1 mL), one rightly empty.
CASES = ((900, 800), (700, 1), (500, 0), (0, 500), (0, 0))


def rows_of_cases(**values):
    return [
        row(0.5 if all(voxels) else 0.0, case=f"c{case}", reference=voxels[0], predicted=voxels[1], **values)
        for case, voxels in enumerate(CASES)
    ]


def detected(rows, **more):
    return {each.region: each for each in detections(grid_of(rows, AB), bootstrap=QUICK, **more)}


def test_f1_counts_cases_with_the_region_and_false_positives_those_without():
    each = detected(rows_of_cases())["ET"]
    counts = (each.true_positives, each.false_positives, each.false_negatives, each.true_negatives)
    assert counts == (2, 1, 1, 1)
    assert (each.f1.mean, each.f1.count) == (pytest.approx(2 * 2 / (2 * 2 + 1 + 1)), 4)
    assert (each.false_positive_share.mean, each.false_positive_share.count) == (0.5, 2)
    assert each.false_positive_share.low < 0.5 < each.false_positive_share.high
    assert each.false_positive_ml.mean == pytest.approx((1.0 + 0.0) / 2)


def test_the_rule_of_small_regions_is_detected_on_its_own():
    found = detected(with_least_size(rows_of_cases(), region="ET", voxels=600))
    ruled = found["ET ≥ 600"]
    assert (ruled.true_positives, ruled.false_positives, ruled.false_negatives, ruled.true_negatives) == (1, 0, 2, 2)
    assert found["ET"].true_positives == 2


def test_runs_of_a_case_count_in_part():
    rows = [row(0.5, predicted=9), row(0.0, fold="1", predicted=0), row(0.5, case="c1")]
    each = detected(rows)["ET"]
    assert (each.true_positives, each.false_negatives) == (1.5, 0.5)
    assert each.f1.mean == pytest.approx(2 * 1.5 / (2 * 1.5 + 0.5))


def test_without_empty_references_there_are_no_false_positives_to_count():
    each = detected([row(0.5), row(0.4, case="c1")])["ET"]
    assert math.isnan(each.false_positive_share.mean)
    assert math.isnan(each.false_positive_ml.mean)
    assert each.f1.mean == 1.0


def test_cases_of_one_patient_are_one_observation():
    patients = {f"c{case}": "p" for case in range(5)}
    each = detected(rows_of_cases(), patients=patients)["ET"]
    assert math.isnan(each.f1.low)
    assert each.f1.count == each.false_positive_share.count == 1
