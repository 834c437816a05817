from __future__ import annotations

import math
from dataclasses import replace

import pytest
from evaluation.evaluation_rows import AB, row

from nnunet_missingmod.evaluation.detection import detections
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.score_grid import grid_of
from nnunet_missingmod.evaluation.scores import UNKNOWN_VOXELS, with_least_size

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
    assert math.isnan(each.f1.low)  # of four patients
    assert each.false_positive_ml.mean == pytest.approx((1.0 + 0.0) / 2)


def unknown(*, model, case, voxel_mm3=math.nan):
    """A score that was read from another program's file, without sizes."""
    sizes = {"reference": UNKNOWN_VOXELS, "predicted": UNKNOWN_VOXELS}
    return row(0.7, model=model, case=case, **sizes, voxel_mm3=voxel_mm3, diagonal_mm=math.nan, nsd=math.nan)


def test_scores_without_sizes_are_no_empty_masks():
    outside = [unknown(model="outside", case=f"c{case}") for case in range(5)]
    found = detections(grid_of([*rows_of_cases(), *outside], AB), bootstrap=QUICK)
    assert [each.model for each in found] == ["ours"]
    assert str(found) == str(detections(grid_of(rows_of_cases(), AB), bootstrap=QUICK))  # NaN is not equal to itself
    assert detections(grid_of(outside, AB), bootstrap=QUICK) == []


def test_cases_without_sizes_are_left_out_of_a_models_counts():
    mixed = [*rows_of_cases(), *(unknown(model="ours", case=f"d{case}", voxel_mm3=2.0) for case in range(3))]
    each = detected(mixed)["ET"]
    counts = (each.true_positives, each.false_positives, each.false_negatives, each.true_negatives)
    assert counts == (2, 1, 1, 1)
    assert (each.false_positive_share.mean, each.false_positive_share.count) == (0.5, 2)
    assert (each.false_positive_ml.mean, each.false_positive_ml.count) == (pytest.approx(0.5), 2)
    # Of two runs of a case, one without sizes: the other one counts whole.
    runs = [row(0.5, case="c0"), replace(unknown(model="ours", case="c0"), fold="1")]
    assert detected(runs)["ET"].true_positives == 1


def test_intervals_of_shares_are_of_15_patients_and_those_of_volumes_of_12():
    rows = [row(0.0, case=f"e{case:02d}", reference=0, predicted=500 * (case % 4)) for case in range(20)]
    rows += [row(0.5 * (case > 2), case=f"p{case:02d}", predicted=100 * (case > 2)) for case in range(12)]
    each = detected(rows)["ET"]
    assert (each.f1.count, each.false_positive_share.count, each.false_positive_ml.count) == (27, 20, 20)
    assert each.f1.low < 18 / 36 < each.f1.high
    assert each.false_positive_share.low < 0.75 < each.false_positive_share.high
    assert each.false_positive_ml.low < 1.5 < each.false_positive_ml.high
    # Of 14 patients with an empty reference the volume has an interval, of 11 nothing has; F1 counts others, too.
    some, few = (detected(rows[left_out:])["ET"] for left_out in (6, 9))
    assert (some.false_positive_share.count, math.isnan(some.false_positive_share.low)) == (14, True)
    assert some.false_positive_ml.low < some.false_positive_ml.mean
    assert (few.false_positive_ml.count, math.isnan(few.false_positive_ml.low)) == (11, True)
    assert few.f1.low < few.f1.mean


def test_where_nothing_is_made_up_the_volume_has_no_interval_and_the_share_has():
    each = detected([row(None, case=f"c{case}") for case in range(20)])["ET"]
    assert each.false_positive_ml.mean == 0
    assert math.isnan(each.false_positive_ml.high)
    assert each.false_positive_share.mean == 0 < each.false_positive_share.high


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
