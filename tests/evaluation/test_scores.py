from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation.evaluation_rows import row

from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores, score_predictions, score_rows, write_scores
from nnunet_missingmod.evaluation.scoring import CaseScorer

MODALITIES = ("FLAIR", "T1", "T2")
REGIONS = {"all": (1, 2), "core": (2,)}
SPACING = (3.0, 1.0, 1.0)
REFERENCE = np.zeros((2, 4, 4), np.uint8)
REFERENCE[0, :2] = 1
REFERENCE[0, 0] = 2
HEADER = (
    "model,fold,case,subset,num_present,region,dice,hd95_mm,nsd,nsd_tolerance_mm,reference_voxels,predicted_voxels,"
    "diagonal_mm"
)


@pytest.fixture
def references(write_volume, tmp_path):
    for case in ("c1", "c2"):
        write_volume(f"labels/{case}.nii.gz", REFERENCE, SPACING)
    return tmp_path / "labels"


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_are_ordered_by_case_subset_and_region_and_hold_the_closed_form(write_volume, references, jobs):
    half = REFERENCE.copy()
    half[0, 1] = 0  # region "all" has 8 voxels in the reference, 4 here, and the missing ones lie 1 mm away
    right = write_volume("right.nii.gz", REFERENCE, SPACING)
    wrong = write_volume("half.nii.gz", half, SPACING)
    predictions = {("c2", "T2"): right, ("c1", "FLAIR+T2"): wrong, ("c1", "T1"): right}
    rows, refused = score_predictions(
        predictions, references, REGIONS, model="ours", fold="2", modalities=MODALITIES, tolerance_mm=0.5, jobs=jobs
    )
    assert refused == {}
    diagonal_mm = math.sqrt(6**2 + 4**2 + 4**2)
    perfect = (1.0, 0.0, 1.0, 0.5)
    assert rows == [
        ScoreRow("ours", "2", "c1", "T1", 1, "all", *perfect, 8, 8, diagonal_mm),
        ScoreRow("ours", "2", "c1", "T1", 1, "core", *perfect, 4, 4, diagonal_mm),
        ScoreRow("ours", "2", "c1", "FLAIR+T2", 2, "all", 2 * 4 / (8 + 4), 1.0, 8 / 12, 0.5, 8, 4, diagonal_mm),
        ScoreRow("ours", "2", "c1", "FLAIR+T2", 2, "core", *perfect, 4, 4, diagonal_mm),
        ScoreRow("ours", "2", "c2", "T2", 1, "all", *perfect, 8, 8, diagonal_mm),
        ScoreRow("ours", "2", "c2", "T2", 1, "core", *perfect, 4, 4, diagonal_mm),
    ]


def test_label_maps_in_memory_give_the_rows_that_their_files_give(write_volume, references):
    prediction = np.roll(REFERENCE, 1, axis=2)
    file = write_volume("p.nii.gz", prediction, SPACING)
    from_file, _ = score_predictions({("c1", "FLAIR+T2"): file}, references, REGIONS, model="m", modalities=MODALITIES)
    scores = CaseScorer(REFERENCE, SPACING, REGIONS).score(prediction)
    assert score_rows(scores, model="m", fold="", case="c1", subset=(2, 0), modalities=MODALITIES) == from_file


def test_a_bad_file_is_refused_by_name_and_costs_no_other(write_volume, references, tmp_path):
    right = write_volume("right.nii.gz", REFERENCE, SPACING)
    predictions = {
        ("c1", "FLAIR"): tmp_path / "missing.nii.gz",
        ("c1", "T1"): write_volume("shape.nii.gz", REFERENCE[:, :3], SPACING),
        ("c1", "T2"): write_volume("spacing.nii.gz", REFERENCE, (1.0, 1.0, 1.0)),
        ("c1", "FLAIR+T1+T2"): right,
        ("c3", "T1"): right,
    }
    rows, refused = score_predictions(predictions, references, REGIONS, model="ours", modalities=MODALITIES)
    assert {(each.case, each.subset) for each in rows} == {("c1", "FLAIR+T1+T2")}
    assert "missing.nii.gz does not exist" in refused["c1", "FLAIR"]
    assert "(2, 3, 4)" in refused["c1", "T1"]
    assert "spacing" in refused["c1", "T2"]
    assert "c3.nii.gz does not exist" in refused["c3", "T1"]
    assert all(reason.startswith(case) for (case, _), reason in refused.items())
    assert len(refused) == 4


def test_ignored_voxels_do_not_reach_the_scores(write_volume, tmp_path):
    reference = np.zeros((1, 2, 2), np.uint8)
    reference[0, 0] = 3
    write_volume("labels/c1.nii.gz", reference)
    prediction = write_volume("p.nii.gz", np.where(reference == 3, 1, 0).astype(np.uint8))
    common = {"model": "m", "modalities": MODALITIES}
    ((ignoring,), _), ((counting,), _) = (
        score_predictions({("c1", "T1"): prediction}, tmp_path / "labels", {"a": (1,)}, ignore_label=label, **common)
        for label in (3, None)
    )
    assert (ignoring.predicted_voxels, ignoring.reference_voxels) == (0, 0)
    assert math.isnan(ignoring.dice)
    assert (counting.predicted_voxels, counting.dice) == (2, 0.0)


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
        row(1 / 3, model='a "model", with commas', fold="0 seed 1", subset="FLAIR+T2", region="whole tumour"),
        row(None, subset="T2"),
        row(0.0, subset="T1", predicted=0),
    ]
    path = tmp_path / "scores.csv"
    write_scores(rows, path)
    assert path.read_text().splitlines()[0] == HEADER
    back = read_scores(path)
    assert back[0] == rows[0]
    assert all(map(math.isnan, (back[1].dice, back[1].hd95_mm, back[1].nsd)))
    assert back[2] == rows[2]
    assert math.isinf(back[2].hd95_mm)


def test_further_columns_of_a_score_file_are_ignored(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores([row(0.5)], path)
    header, line = path.read_text().splitlines()
    path.write_text(f"note,{header}\nseen,{line}\n")
    assert read_scores(path) == [row(0.5)]


def test_a_broken_score_file_is_refused_with_the_line_or_the_column(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores([row(0.5), row(0.25, case="c1")], path)
    text = path.read_text()
    path.write_text(text.replace("dice,", "other,"))
    with pytest.raises(ValueError, match="lacks the column dice"):
        read_scores(path)
    path.write_text(text.replace("0.25", "good"))
    with pytest.raises(ValueError, match="line 3: .*good"):
        read_scores(path)
    path.write_text(text[: text.index(",ET")])
    with pytest.raises(ValueError, match="line 2"):
        read_scores(path)
