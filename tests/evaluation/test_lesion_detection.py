"""F1 over lesions, and the Dice of those that are found, from rows whose lesions were counted."""

from __future__ import annotations

from math import isnan

import pytest

from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.lesion_detection import lesion_detections
from nnunet_missingmod.evaluation.report.volume_questions import lesion_section
from nnunet_missingmod.evaluation.score_grid import grid_of
from nnunet_missingmod.evaluation.scores import ScoreRow, read_scores, with_least_size, write_scores
from nnunet_missingmod.evaluation.scoring import UNCOUNTED

QUICK = Bootstrap(resamples=200)


def row(case, lesions=(), subset="A", fold="0", model="m"):
    return ScoreRow(model, fold, case, subset, 1, "R", 0.5, 1.0, 0.5, 1.0, 10, 10, 30.0, 1.0, *lesions)


def test_f1_counts_lesions_and_dice_is_of_cases_with_a_match():
    rows = [row("a", (4, 3, 2, 0.8)), row("b", (1, 1, 1, 0.6)), row("c", (0, 2, 0, float("nan")))]
    (found,) = lesion_detections(grid_of(rows, ("A",)), bootstrap=QUICK)
    assert (found.reference, found.predicted, found.matched) == (5, 6, 3)
    assert found.f1.mean == pytest.approx(2 * 3 / (5 + 6))
    assert isnan(found.f1.low)
    assert found.lesion_dice.mean == pytest.approx(0.7)
    assert found.lesion_dice.count == 2
    many = [row(f"c{case}", (2, 2, case % 3, 0.8)) for case in range(21)]
    (found,) = lesion_detections(grid_of(many, ("A",)), bootstrap=QUICK)
    assert found.f1.low < found.f1.mean == 0.5 < found.f1.high


def test_runs_of_a_case_are_averaged():
    rows = [row("a", (4, 4, 4, 1.0)), row("a", (4, 2, 2, 0.5), fold="1"), row("b", (2, 2, 1, 0.5))]
    (found,) = lesion_detections(grid_of(rows, ("A",)), bootstrap=QUICK)
    assert (found.reference, found.predicted, found.matched) == (6, 5, 4)
    assert found.lesion_dice.mean == pytest.approx((0.75 + 0.5) / 2)


def test_without_counted_lesions_there_is_neither_detection_nor_section():
    assert lesion_detections(grid_of([row("a"), row("b")], ("A",)), bootstrap=QUICK) == []
    assert lesion_section([], shown_subsets=["A"]) is None


def test_the_section_has_a_row_per_region_and_subset_and_a_column_per_model():
    rows = [row(case, (2, 2, 1, 0.5), model=model) for case in "ab" for model in ("m", "n")]
    section = lesion_section(lesion_detections(grid_of(rows, ("A",)), bootstrap=QUICK), shown_subsets=["A"])
    f1, dice = section.tables
    assert f1.head == dice.head == ("region", "subset", "m", "n")
    assert [line[:2] for line in f1.body] == [("R", "A")]
    assert all(cell.startswith("50.0") for cell in (*f1.body[0][2:], *dice.body[0][2:]))


def test_counts_are_kept_in_files_and_files_without_them_are_read(tmp_path):
    file = tmp_path / "scores.csv"
    write_scores([row("a", (4, 3, 2, 0.8))], file)
    (read,) = read_scores(file)
    assert (read.reference_lesions, read.predicted_lesions, read.matched_lesions, read.lesion_dice) == (4, 3, 2, 0.8)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(",".join(line.split(",")[:14]) for line in lines) + "\n")
    (read,) = read_scores(file)
    assert read.reference_lesions == UNCOUNTED
    assert read.voxel_mm3 == 1.0


def test_a_prediction_that_is_taken_back_loses_its_lesions_if_they_were_counted():
    _, _, counted, not_counted = with_least_size([row("a", (4, 3, 2, 0.8)), row("b")], region="R", voxels=50)
    assert (counted.reference_lesions, counted.predicted_lesions, counted.matched_lesions) == (4, 0, 0)
    assert isnan(counted.lesion_dice)
    assert not_counted.predicted_lesions == UNCOUNTED
