from __future__ import annotations

import math

from evaluation.evaluation_rows import AB, row

from nnunet_missingmod.evaluation.detection import detections
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.report.volume_questions import detection_section, volume_section
from nnunet_missingmod.evaluation.score_grid import grid_of
from nnunet_missingmod.evaluation.volumes import volume_agreements

QUICK = Bootstrap(resamples=100)
# Differences of -1, 0 and 1 mL in voxels of 2 mm3: s = 1.
ROWS = [
    row(0.5, case=f"c{case}", reference=5000, predicted=5000 + 500 * (case - 1), subset=subset)
    for case in range(3)
    for subset in ("A", "A+B")
]


def test_bias_and_limits_stand_in_one_cell():
    section = volume_section(volume_agreements(grid_of(ROWS, AB), bootstrap=QUICK), shown_subsets=["A+B"])
    (table,) = section.tables
    assert table.head == ("region", "subset", "reference (mL)", "ours")
    assert table.body == (("ET", "A+B", "10.0", "0.0; −2.0 to +2.0"),)


def test_small_volumes_are_shown_with_two_digits():
    small = [
        row(0.5, case=f"c{case}", reference=24, predicted=24 + 5 * (case - 1), subset="A", voxel_mm3=2.0)
        for case in range(3)
    ]
    small.append(row(0.0, case="c3", reference=0, predicted=3, subset="A", voxel_mm3=2.0))
    grid = grid_of(small, AB)
    section = volume_section(volume_agreements(grid, bootstrap=QUICK), shown_subsets=["A"])
    assert section.tables[0].body[0][2:] == ("0.036", "+0.002; −0.016 to +0.019")
    section = detection_section(detections(grid, bootstrap=QUICK), shown_subsets=["A"])
    assert section.tables[1].body == (("ET", "A", "100.0; 0.0060 mL"),)


def test_models_of_other_cases_have_their_own_mean_reference():
    theirs = [row(0.5, model="theirs", case="big", reference=500_000, predicted=500_000, subset="A+B")]
    section = volume_section(volume_agreements(grid_of([*ROWS, *theirs], AB), bootstrap=QUICK), shown_subsets=["A+B"])
    assert section.tables[0].body[0][2] == "10.0 / 1000.0"


def test_one_case_has_a_bias_and_no_limits():
    found = volume_agreements(grid_of(ROWS[:1], AB), bootstrap=QUICK)
    assert volume_section(found, shown_subsets=["A"]).tables[0].body == (("ET", "A", "10.0", "−1.0"),)


def test_it_says_why_there_are_no_volumes():
    found = volume_agreements(grid_of([row(0.5, voxel_mm3=math.nan)], AB), bootstrap=QUICK)
    section = volume_section(found, shown_subsets=["A"])
    assert "lack the column voxel_mm3; evaluate again" in section.text
    assert section.tables == ()


def test_models_without_sizes_are_in_no_table_of_detection():
    unknown = {"reference": -1, "predicted": -1, "voxel_mm3": math.nan}
    outside = [row(0.5, model="outside", case=f"c{case}", **unknown) for case in range(3)]
    rows = [*ROWS, row(0.0, case="c3", reference=0, predicted=500), *outside]
    section = detection_section(detections(grid_of(rows, AB), bootstrap=QUICK), shown_subsets=["A"])
    assert [table.head for table in section.tables] == [("region", "subset", "ours")] * 2
    alone = detection_section(detections(grid_of(outside, AB), bootstrap=QUICK), shown_subsets=["A"])
    assert alone.text.startswith("Not known: the scores do not say how large")
    assert alone.tables == ()


def test_false_positives_are_shown_where_references_are_empty():
    rows = [*ROWS, row(0.0, case="c3", reference=0, predicted=500), row(0.5, case="c3", region="WT")]
    section = detection_section(detections(grid_of(rows, AB), bootstrap=QUICK), shown_subsets=["A"])
    f1, empty = section.tables
    assert [line[:2] for line in f1.body] == [("ET", "A"), ("WT", "A")]
    assert f1.body[0][2].startswith("85.7")
    assert empty.body == (("ET", "A", "100.0; 1.0 mL"),)
    without = detection_section(detections(grid_of(ROWS, AB), bootstrap=QUICK), shown_subsets=["A"])
    assert len(without.tables) == 1
