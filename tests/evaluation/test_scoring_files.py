"""The files of a case against its reference, which is read once; what cannot be scored is named and costs no other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnunet_missingmod.evaluation import scoring
from nnunet_missingmod.evaluation.scoring import CaseScorer, RegionScore, score_files

REGIONS = {"all": (1, 2), "core": (2,)}
SPACING = (3.0, 1.0, 1.0)
REFERENCE = np.zeros((2, 4, 4), np.uint8)
REFERENCE[0, :2] = 1
REFERENCE[0, 0] = 2


@pytest.fixture
def reference(write_volume):
    return write_volume("labels/c1.nii.gz", REFERENCE, SPACING)


def test_scores_are_the_closed_form_in_the_order_of_files_and_regions(write_volume, reference):
    half = REFERENCE.copy()
    half[0, 1] = 0  # region "all" has 8 voxels in the reference, 4 here, and the missing ones lie 1 mm away
    right = write_volume("right.nii.gz", REFERENCE, SPACING)
    wrong = write_volume("half.nii.gz", half, SPACING)
    found = score_files({"T1": right, "FLAIR+T2": wrong}, reference, REGIONS, case="c1", tolerance_mm=0.5)
    assert found.refused == {}
    diagonal_mm = math.sqrt(6**2 + 4**2 + 4**2)
    perfect = (1.0, 0.0, 1.0, 0.5)
    assert [(key, list(scores.items())) for key, scores in found.scores.items()] == [
        ("T1", [
            ("all", RegionScore(*perfect, 8, 8, diagonal_mm, 3.0)),
            ("core", RegionScore(*perfect, 4, 4, diagonal_mm, 3.0)),
        ]),
        ("FLAIR+T2", [
            ("all", RegionScore(2 * 4 / (8 + 4), 1.0, 8 / 12, 0.5, 8, 4, diagonal_mm, 3.0)),
            ("core", RegionScore(*perfect, 4, 4, diagonal_mm, 3.0)),
        ]),
    ]  # fmt: skip


def test_files_give_the_scores_that_their_label_maps_give(write_volume, reference):
    prediction = np.roll(REFERENCE, 1, axis=2)
    file = write_volume("p.nii.gz", prediction, SPACING)
    found = score_files({0: file}, reference, REGIONS, case="c1")
    assert found.scores[0] == CaseScorer(REFERENCE, SPACING, REGIONS).score(prediction)


def test_the_reference_is_read_and_prepared_once(write_volume, reference, monkeypatch):
    file = write_volume("p.nii.gz", REFERENCE, SPACING)
    read, prepared = [], []
    read_label_map, prepare = scoring.read_label_map, scoring.CaseScorer
    monkeypatch.setattr(scoring, "read_label_map", lambda path: read.append(path) or read_label_map(path))
    monkeypatch.setattr(scoring, "CaseScorer", lambda *a, **b: prepared.append(a) or prepare(*a, **b))
    score_files({subset: file for subset in range(3)}, reference, REGIONS, case="c1")
    assert read == [reference, file, file, file]
    assert len(prepared) == 1


def test_a_bad_file_is_refused_by_name_and_costs_no_other(write_volume, reference, tmp_path):
    files = {
        "FLAIR": tmp_path / "missing.nii.gz",
        "T1": write_volume("shape.nii.gz", REFERENCE[:, :3], SPACING),
        "T2": write_volume("spacing.nii.gz", REFERENCE, (1.0, 1.0, 1.0)),
        "FLAIR+T1+T2": write_volume("right.nii.gz", REFERENCE, SPACING),
    }
    found = score_files(files, reference, REGIONS, case="c1")
    assert list(found.scores) == ["FLAIR+T1+T2"]
    assert "missing.nii.gz does not exist" in found.refused["FLAIR"]
    assert "(2, 3, 4)" in found.refused["T1"]
    assert "spacing" in found.refused["T2"]
    assert all(found.refused[subset].startswith("c1") for subset in ("T1", "T2"))
    assert len(found.refused) == 3


def test_a_reference_that_is_not_there_costs_all_of_its_case(write_volume, tmp_path):
    right = write_volume("right.nii.gz", REFERENCE, SPACING)
    found = score_files({"T1": right, "T2": right}, tmp_path / "c3.nii.gz", REGIONS, case="c3")
    assert found.scores == {}
    assert list(found.refused) == ["T1", "T2"]
    assert all("its reference: " in why and "c3.nii.gz does not exist" in why for why in found.refused.values())


def test_ignored_voxels_do_not_reach_the_scores(write_volume):
    reference = np.zeros((1, 2, 2), np.uint8)
    reference[0, 0] = 3
    file = write_volume("labels/c1.nii.gz", reference)
    prediction = write_volume("p.nii.gz", np.where(reference == 3, 1, 0).astype(np.uint8))
    ignoring, counting = (
        score_files({"T1": prediction}, file, {"a": (1,)}, case="c1", ignore_label=label).scores["T1"]["a"]
        for label in (3, None)
    )
    assert (ignoring.predicted_voxels, ignoring.reference_voxels) == (0, 0)
    assert math.isnan(ignoring.dice)
    assert (counting.predicted_voxels, counting.dice) == (2, 0.0)


def test_no_regions_and_a_negative_tolerance_are_refused(reference):
    with pytest.raises(ValueError, match="no regions"):
        score_files({}, reference, {}, case="c1")
    with pytest.raises(ValueError, match="tolerance"):
        score_files({}, reference, REGIONS, case="c1", tolerance_mm=-1.0)
