from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation.evaluation_rows import row

from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores, score_rows, write_scores
from nnunet_missingmod.evaluation.scoring import CaseScorer

MODALITIES = ("FLAIR", "T1", "T2")
REGIONS = {"all": (1, 2), "core": (2,)}
SPACING = (3.0, 1.0, 1.0)
REFERENCE = np.zeros((2, 4, 4), np.uint8)
REFERENCE[0, :2] = 1
REFERENCE[0, 0] = 2
HEADER = (
    "model,fold,case,subset,num_present,region,dice,hd95_mm,nsd,nsd_tolerance_mm,reference_voxels,predicted_voxels,"
    "diagonal_mm,voxel_mm3,reference_lesions,predicted_lesions,matched_lesions,lesion_dice"
)


def test_rows_hold_the_closed_form_by_subset_and_region():
    half = REFERENCE.copy()
    half[0, 1] = 0  # region "all" has 8 voxels in the reference, 4 here, and the missing ones lie 1 mm away
    scores = CaseScorer(REFERENCE, SPACING, REGIONS, tolerance_mm=0.5).score(half)
    diagonal_mm = math.sqrt(6**2 + 4**2 + 4**2)
    assert score_rows(scores, model="ours", fold="2", case="c1", subset=(2, 0), modalities=MODALITIES) == [
        ScoreRow("ours", "2", "c1", "FLAIR+T2", 2, "all", 2 * 4 / (8 + 4), 1.0, 8 / 12, 0.5, 8, 4, diagonal_mm, 3.0),
        ScoreRow("ours", "2", "c1", "FLAIR+T2", 2, "core", 1.0, 0.0, 1.0, 0.5, 4, 4, diagonal_mm, 3.0),
    ]


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


def test_a_file_without_the_size_of_a_voxel_is_read(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores([row(0.5)], path)
    path.write_text("".join(",".join(line.split(",")[:13]) + "\n" for line in path.read_text().splitlines()))
    (back,) = read_scores(path)
    assert math.isnan(back.voxel_mm3)
    assert replace(back, voxel_mm3=2.0) == row(0.5)


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
