"""The study of accuracy: its intervals, equal totals of steps, parts of a job array, and coarser copies of data."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))

import scoring
import study
import tables
from intervals import over_trainings_and_cases
from resampling import resample_image, resample_labels
from studies import STUDIES
from study_folder import StudyFolder, Training

EQUAL = STUDIES["equal_budgets"]


def test_interval_of_two_trainings_and_one_case_is_that_of_the_mean_of_two_draws():
    # Of two trainings that differ by 0 and 2, two are drawn: the mean is 0, 1 or 2, each with more than 2.5 %.
    found = over_trainings_and_cases(np.array([[[0.0], [2.0]]]))
    assert (found.mean, found.low, found.high, found.count) == (1.0, 0.0, 2.0, 1)


def test_interval_covers_folds_that_differ_and_is_narrow_where_nothing_does():
    same = np.full((3, 2, 9), np.nan)
    for fold in range(3):
        same[fold, :, 3 * fold : 3 * fold + 3] = 0.5
    alike = over_trainings_and_cases(same)
    assert (alike.low, alike.high) == (0.5, 0.5)
    differ = same + np.array([-1.0, 0.0, 1.0])[:, None, None]
    found = over_trainings_and_cases(differ)
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.high) == (-0.5, 1.5)


def test_one_training_has_no_interval():
    found = over_trainings_and_cases(np.arange(5.0)[None, None])
    assert found.mean == 2.0
    assert np.isnan([found.low, found.high]).all()


def test_cases_of_one_patient_are_drawn_together():
    values = np.random.default_rng(0).normal(size=(1, 4, 12))
    alone = over_trainings_and_cases(np.repeat(values, 3, axis=2), patients=[f"{i // 3:02d}" for i in range(36)])
    once = over_trainings_and_cases(values)
    assert alone.low == pytest.approx(once.low)
    assert alone.high == pytest.approx(once.high)


def test_interval_covers_the_truth_where_cases_and_trainings_vary():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(40):
        cases, trainings = generator.normal(size=(1, 1, 30)), generator.normal(size=(1, 8, 1))
        found = over_trainings_and_cases(0.5 * cases + 0.5 * trainings + 0.3 * generator.normal(size=(1, 8, 30)))
        inside += found.low <= 0 <= found.high
    assert 0.85 <= inside / 40 <= 1


def test_trainings_of_a_fold_with_other_cases_are_refused():
    with pytest.raises(ValueError, match="same cases"):
        over_trainings_and_cases(np.array([[[0.0, np.nan], [1.0, 1.0]]]))


def test_arms_that_are_compared_have_the_same_steps_in_all():
    # Teachers alone, and what only shows how a pretraining starts, are in the tables and say that they had fewer.
    apart = {"teacher_half", "teacher_half_presence", "pmkl_teacher", "pmkl_medmap_teacher", "zero_fill_half"}
    apart |= {"average_presence_half"} | {name for name in EQUAL.arms if name.startswith("probe_")}
    for name, group in EQUAL.groups.items():
        total = 12000 if name == "memory" else 3000
        steps = {arm: EQUAL.total_steps(arm) for arm in group.arms if arm not in apart and arm != "dedicated"}
        assert set(steps.values()) == {total}, {arm: count for arm, count in steps.items() if count != total}
    assert {EQUAL.total_steps(f"{arm}_x4") for arm in ("dropout", "flagship", "average_presence")} == {12000}


@pytest.fixture
def folder(tmp_path):
    """A study's folder of two folds, with nothing in it."""
    found = StudyFolder(EQUAL, tmp_path)
    description = {
        "dataset": "Dataset001_X", "configuration": "2d", "runs": None, "folds": 2, "modalities": ["A", "B"],
        "regions": {"R": [1]}, "ignore_label": None, "patients": {}, "epoch_steps": 30,
    }  # fmt: skip
    (tmp_path / "study.json").write_text(json.dumps(description))
    return found


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_of_a_job_array_share_the_work_and_leave_students_with_their_teachers(folder, parts):
    every = study.in_order(folder, ["dropout", "flagship", "pmkl", "zero_fill"], [0, 1], [0, 1])
    shares = [study.part_of(folder, every, part, parts) for part in range(1, parts + 1)]
    assert sorted(map(str, every)) == sorted(str(one) for share in shares for one in share)
    for share in shares:
        for student, teacher in (("flagship", "teacher_half"), ("pmkl", "pmkl_teacher")):
            of_student = [(one.seed, one.fold) for one in share if one.arm == student]
            assert of_student == [(one.seed, one.fold) for one in share if one.arm == teacher]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="I/N"):
        study.parse_part(text)


def test_dedicated_networks_are_one_for_each_subset_of_the_data(folder):
    assert folder.expand(["dedicated", "dropout"]) == ["dedicated_0", "dedicated_1", "dedicated_0_1", "dropout"]
    assert folder.study.arm("dedicated_0_1").dedicated_to == (0, 1)
    with pytest.raises(ValueError, match="2 modalities"):
        folder.expand(["dedicated_2"])
    with pytest.raises(ValueError, match="no arm 'nothing'"):
        folder.expand(["nothing"])
    assert folder.total_steps("flagship") == 600


def scores_of(arm, seed, fold, subsets=("A", "B", "A+B"), better=0.0):
    cases = [f"case{fold}{number}" for number in range(3)]
    return [
        (arm, seed, fold, "val", case, subset, len(subset.split("+")), "R", 0.5 + 0.1 * number + better)
        for number, case in enumerate(cases)
        for subset in subsets
    ]


def test_the_table_pools_folds_and_seeds_and_takes_dedicated_networks_together(folder):
    columns = ["arm", "seed", "fold", *scoring.SCORES]
    for seed in (0, 1):
        for fold in (0, 1):
            found = scores_of("dropout", seed, fold) + scores_of("zero_fill", seed, fold, better=-0.1 * (1 + seed))
            pd.DataFrame(found, columns=columns).to_csv(folder.runs / f"pair-{seed}-{fold}.csv", index=False)
    own = [row for subset in ("A", "B", "A+B") for row in scores_of(f"dedicated_{subset}", 0, 1, (subset,), 0.2)]
    own += scores_of("dedicated_A", 1, 1, ("A",), 0.2)  # not all subsets: no row of its own
    pd.DataFrame(own, columns=columns).to_csv(folder.runs / "own.csv", index=False)
    text = tables.tables_of(EQUAL, folder.runs, folder.total_steps)["equal budgets, val"]
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in text.splitlines()}
    assert rows["dropout"][1:3] == ["60.0", "60.0, 60.0, 60.0, 60.0"]
    assert rows["zero\\_fill"][1] == "45.0"
    assert rows["zero\\_fill"][-2:] == ["−15.0 (−20.0 to −10.0)", "−10.0, −20.0, −10.0, −20.0"]
    assert rows["dedicated"][1:3] == ["80.0", "80.0"]
    assert rows["dedicated"][-2:] == ["+20.0", "+20.0"]
    by_subset = tables.by_subset(tables.read_runs(folder.runs, "val"), ["zero_fill", "dropout"])
    assert "| ● | ● | 60.00 | 45.00 |" in by_subset


def test_a_coarser_copy_keeps_borders_means_and_the_labels_of_the_largest_share(tmp_path):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:, :, 4:] = 2
    labels[0, 0, 0] = 1  # one of 64 voxels
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((1.0, 1.0, 4.0))
    image.SetOrigin((10.0, 0.0, 0.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "labels.nii.gz"))
    resample_labels(tmp_path / "labels.nii.gz", tmp_path / "coarse.nii.gz", spacing_mm=4.0)
    coarse = sitk.ReadImage(str(tmp_path / "coarse.nii.gz"))
    assert coarse.GetSpacing() == (4.0, 4.0, 4.0)
    assert coarse.GetSize() == (2, 2, 8)
    assert coarse.GetOrigin() == pytest.approx((10 - 1.5, -1.5, 0.0))
    assert sitk.GetArrayFromImage(coarse)[3].tolist() == [[0, 2], [0, 2]]
    sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32) + 5, str(tmp_path / "image.nii.gz"))
    resample_image(tmp_path / "image.nii.gz", tmp_path / "coarse_image.nii.gz", spacing_mm=4.0)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "coarse_image.nii.gz")))
    assert values.mean() == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize(("patch", "size"), [((9, 8), (3, 6, 7)), ((9, 8, 8), (4, 6, 7))])
def test_one_window_gives_each_voxel_the_logits_of_its_place(patch, size):
    class Position(torch.nn.Module):
        def forward(self, windows):
            return windows[:, :1] * 2 + 1

    values = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    trainer = SimpleNamespace(
        network=Position(),
        configuration_manager=SimpleNamespace(patch_size=patch),
        label_manager=SimpleNamespace(convert_logits_to_segmentation=lambda logits: logits[0]),
    )
    assert np.allclose(scoring.predict(trainer, values, (0,)), values[0] * 2 + 1, atol=1e-6)
    assert np.isnan(scoring.predict(trainer, values, (1,))).all()


def test_a_folder_that_was_not_prepared_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="prepare equal_budgets"):
        StudyFolder(EQUAL, tmp_path).is_done(Training("dropout", 0))
