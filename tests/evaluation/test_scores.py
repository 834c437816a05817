from __future__ import annotations

import math

import numpy as np
import pytest

from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores, score_predictions, write_scores

MODALITIES = ("FLAIR", "T1", "T2")
REGIONS = {"all": (1, 2), "core": (2,)}
REFERENCE = np.zeros((2, 4, 4), np.uint8)
REFERENCE[0, :2] = 1
REFERENCE[0, 0] = 2


@pytest.fixture
def references(write_volume, tmp_path):
    for case in ("c1", "c2"):
        write_volume(f"labels/{case}.nii.gz", REFERENCE, (3.0, 1.0, 1.0))
    return tmp_path / "labels"


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_are_ordered_by_case_subset_and_region_and_hold_the_closed_form(write_volume, references, jobs):
    half = REFERENCE.copy()
    half[0, 1] = 0  # region "all" has 8 voxels in the reference, 4 here
    right = write_volume("right.nii.gz", REFERENCE, (3.0, 1.0, 1.0))
    wrong = write_volume("half.nii.gz", half, (3.0, 1.0, 1.0))
    predictions = {("c2", "T2"): right, ("c1", "FLAIR+T2"): wrong, ("c1", "T1"): right}
    rows, refused = score_predictions(predictions, references, REGIONS, model="ours", modalities=MODALITIES, jobs=jobs)
    assert refused == {}
    assert rows == [
        ScoreRow("ours", "c1", "T1", 1, "all", 1.0),
        ScoreRow("ours", "c1", "T1", 1, "core", 1.0),
        ScoreRow("ours", "c1", "FLAIR+T2", 2, "all", 2 * 4 / (8 + 4)),
        ScoreRow("ours", "c1", "FLAIR+T2", 2, "core", 1.0),
        ScoreRow("ours", "c2", "T2", 1, "all", 1.0),
        ScoreRow("ours", "c2", "T2", 1, "core", 1.0),
    ]


def test_a_bad_file_is_refused_by_name_and_costs_no_other(write_volume, references, tmp_path):
    right = write_volume("right.nii.gz", REFERENCE, (3.0, 1.0, 1.0))
    predictions = {
        ("c1", "FLAIR"): tmp_path / "missing.nii.gz",
        ("c1", "T1"): write_volume("shape.nii.gz", REFERENCE[:, :3], (3.0, 1.0, 1.0)),
        ("c1", "T2"): write_volume("spacing.nii.gz", REFERENCE, (1.0, 1.0, 1.0)),
        ("c1", "FLAIR+T1+T2"): right,
        ("c3", "T1"): right,
    }
    rows, refused = score_predictions(predictions, references, REGIONS, model="ours", modalities=MODALITIES)
    assert {(row.case, row.subset) for row in rows} == {("c1", "FLAIR+T1+T2")}
    assert "missing.nii.gz does not exist" in refused["c1", "FLAIR"]
    assert "(2, 3, 4)" in refused["c1", "T1"]
    assert "spacing" in refused["c1", "T2"]
    assert "c3.nii.gz does not exist" in refused["c3", "T1"]
    assert all(reason.startswith(case) for (case, _), reason in refused.items())
    assert len(refused) == 4


def test_ignored_voxels_and_the_empty_convention_reach_the_scores(write_volume, tmp_path):
    reference = np.zeros((1, 2, 2), np.uint8)
    reference[0, 0] = 3
    write_volume("labels/c1.nii.gz", reference)
    prediction = write_volume("p.nii.gz", np.where(reference == 3, 1, 0).astype(np.uint8))
    common = {"model": "m", "modalities": MODALITIES, "ignore_label": 3}
    one, _ = score_predictions({("c1", "T1"): prediction}, tmp_path / "labels", {"a": (1,)}, **common)
    nan, _ = score_predictions({("c1", "T1"): prediction}, tmp_path / "labels", {"a": (1,)}, both_empty="nan", **common)
    assert one[0].dice == 1.0
    assert math.isnan(nan[0].dice)


def test_wrong_usage_is_refused_before_anything_is_read(tmp_path):
    common = {"model": "m", "modalities": MODALITIES}
    with pytest.raises(ValueError, match=r"c1: 'T2\+FLAIR' is no subset of FLAIR, T1, T2"):
        score_predictions({("c1", "T2+FLAIR"): tmp_path}, tmp_path, REGIONS, **common)
    with pytest.raises(ValueError, match="no regions"):
        score_predictions({}, tmp_path, {}, **common)
    with pytest.raises(ValueError, match="jobs"):
        score_predictions({}, tmp_path, REGIONS, jobs=0, **common)


def test_rows_come_back_from_a_file_as_they_were(tmp_path):
    rows = [
        ScoreRow('a "model", with commas', "c1", "FLAIR+T2", 2, "whole tumour", 1 / 3),
        ScoreRow("m", "c1", "T2", 1, "ET", math.nan),
    ]
    path = tmp_path / "scores.csv"
    write_scores(rows, path)
    assert path.read_text().splitlines()[0] == "model,case,subset,num_present,region,dice"
    back = read_scores(path)
    assert back[0] == rows[0]
    assert math.isnan(back[1].dice)


def test_a_broken_score_file_is_refused_with_the_line_or_the_column(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,case,subset,num_present,region\n")
    with pytest.raises(ValueError, match="lacks the column dice"):
        read_scores(path)
    path.write_text("model,case,subset,num_present,region,dice\nm,c,T1,1,ET,0.5\nm,c,T2,1,ET,good\n")
    with pytest.raises(ValueError, match="line 3: .*good"):
        read_scores(path)
    path.write_text("model,case,subset,num_present,region,dice\nm,c,T1,1\n")
    with pytest.raises(ValueError, match="line 2"):
        read_scores(path)
