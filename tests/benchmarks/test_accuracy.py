"""The study of accuracy: its intervals, equal totals of steps, parts of a job array, and coarser copies of data."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from scipy.stats import t as students_t

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))

import coverage
import prepare
import scoring
import study
import tables
from intervals import over_trainings_and_cases
from resampling import resample_image, resample_labels
from steps import HardSubsets
from studies import STUDIES
from study_folder import StudyFolder, Training
from train_arm import block_of

from nnunet_missingmod import plans_block
from nnunet_missingmod.host import CLASS_TABLE

EQUAL = STUDIES["equal_budgets"]


def test_interval_of_crossed_trainings_and_cases_is_students_with_satterthwaites_degrees_of_freedom():
    # Means of trainings 1 and 3, of cases 1, 2, 3, nothing else: their variances are 2 / 2 and 1 / 3, no rest.
    found = over_trainings_and_cases(np.array([[[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]]))
    variance = 1 + 1 / 3
    half = students_t.ppf(0.975, variance**2 / (1 / 1 + (1 / 9) / 2)) * variance**0.5
    assert (found.mean, found.count) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_the_rest_is_in_the_spread_of_cases_and_of_trainings_and_counts_once():
    values = np.random.default_rng(0).normal(size=(1, 4, 7))
    v_trainings, v_cases = values[0].mean(1).var(ddof=1) / 4, values[0].mean(0).var(ddof=1) / 7
    rest = values[0] - values[0].mean(1, keepdims=True) - values[0].mean(0) + values.mean()
    v_rest = (rest**2).sum() / (3 * 6) / 28
    variance = max(v_trainings + v_cases - v_rest, v_trainings, v_cases)
    freedom = variance**2 / (v_trainings**2 / 3 + v_cases**2 / 6 + v_rest**2 / 18)
    half = students_t.ppf(0.975, freedom) * variance**0.5
    found = over_trainings_and_cases(values)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_folds_with_cases_of_their_own_are_the_draws():
    same = np.full((3, 2, 9), np.nan)
    for fold in range(3):
        same[fold, :, 3 * fold : 3 * fold + 3] = 0.5
    alike = over_trainings_and_cases(same)
    assert (alike.low, alike.high) == (0.5, 0.5)
    found = over_trainings_and_cases(same + np.array([-1.0, 0.0, 1.0])[:, None, None])
    half = students_t.ppf(0.975, 2) * (1 / 3) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_folds_that_are_alike_by_chance_have_the_spread_of_their_trainings_and_cases():
    alike = np.full((2, 2, 8), np.nan)
    alike[0, :, :4] = alike[1, :, 4:] = [[-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0]]
    # In each fold two trainings of variance 2, of which half counts in a mean of two and a quarter in one of two folds.
    half = students_t.ppf(0.975, 2) * 0.5**0.5
    found = over_trainings_and_cases(alike)
    assert (found.low, found.high) == pytest.approx((-half, half))
    one = np.full((3, 1, 12), np.nan)
    for fold in range(3):
        one[fold, 0, 4 * fold : 4 * fold + 4] = [-1.0, 1.0, -1.0, 1.0]
    # In each fold four cases of variance 4 / 3: a quarter in their mean, a ninth of that in the mean of three folds.
    half = students_t.ppf(0.975, 9) * (1 / 9) ** 0.5
    found = over_trainings_and_cases(one)
    assert (found.low, found.high) == pytest.approx((-half, half))
    assert np.isnan(over_trainings_and_cases(one[:2]).low)


def test_one_training_and_one_case_have_no_interval():
    for values in (np.arange(5.0)[None, None], np.arange(5.0)[None, :, None]):
        found = over_trainings_and_cases(values)
        assert found.mean == 2.0
        assert np.isnan([found.low, found.high]).all()


def test_cases_of_one_patient_count_as_one():
    values = np.random.default_rng(0).normal(size=(1, 4, 12))
    alone = over_trainings_and_cases(np.repeat(values, 3, axis=2), patients=[f"{i // 3:02d}" for i in range(36)])
    once = over_trainings_and_cases(values)
    assert (alone.low, alone.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(
    ("folds", "seeds", "cases", "own_cases"),
    [(1, 2, 20, False), (1, 3, 12, False), (1, 5, 60, False), (5, 1, 60, True)],
)
@pytest.mark.parametrize("spread", coverage.SPREADS)
def test_interval_holds_the_truth_as_often_as_it_says(folds, seeds, cases, own_cases, spread):
    found = coverage.coverage(
        folds, seeds, cases, coverage.SPREADS[spread], own_cases=own_cases, repetitions=500, seed=1
    )
    assert 0.88 <= found <= 0.99


def test_trainings_that_have_not_been_run_are_left_out():
    values = np.random.default_rng(0).normal(size=(2, 3, 8))
    values[0, :, 4:], values[1, :, :4] = np.nan, np.nan
    values[1, 2] = np.nan
    found = over_trainings_and_cases(values)
    assert found.mean == pytest.approx(np.nanmean(values))
    assert found.low < found.mean < found.high
    values[1] = np.nan
    assert over_trainings_and_cases(values) == over_trainings_and_cases(values[:1])
    with pytest.raises(ValueError, match="no value"):
        over_trainings_and_cases(values[1:])


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


@pytest.mark.parametrize("name", list(EQUAL.arms))
def test_the_trainer_of_each_arm_takes_its_choices(folder, name):
    arm = EQUAL.arm(name)
    trainer = getattr(import_module(CLASS_TABLE[arm.trainer]), arm.trainer)
    block = block_of(folder, Training(name, 0, 0))
    own, keys = trainer._own_choices(), trainer.block_keys
    choices = plans_block.resolve(block, own, keys=keys)
    plans_block.check_choices(choices, ("T1", "T1ce", "T2", "FLAIR"), own, keys=keys)
    assert choices["num_iterations_per_epoch"] == 30


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
    assert rows["zero\\_fill"][-2:] == ["−15.0 (−30.2 to +0.2)", "−10.0, −20.0, −10.0, −20.0"]
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


def test_a_folder_is_not_prepared_for_something_else(folder):
    folder.claim({"raw": "/a", "spacing": 2.0, "splits": None})
    folder.claim({"raw": "/a", "spacing": 2.0, "splits": None})
    with pytest.raises(ValueError, match=r"spacing: 2\.0, now 4\.0; splits: not given, now 2 of a file"):
        folder.claim({"raw": "/a", "spacing": 4.0, "splits": [{}, {}]})
    assert folder.json(folder.root / "prepared.json")["spacing"] == 2.0


def test_patients_are_named_in_test_cases_too_and_stand_on_one_side():
    cases = [prepare.Case(SimpleNamespace(case=name), Path(), split) for name, split in (
        ("p1_a", "train"), ("p1_b", "train"), ("p2_a", "test"), ("p2_b", "test"))]  # fmt: skip
    assert prepare._patients(cases, "(.+)_") == {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2", "p2_b": "p2"}
    cases.append(prepare.Case(SimpleNamespace(case="p1_c"), Path(), "test"))
    with pytest.raises(ValueError, match="imagesTr and in imagesTs: p1"):
        prepare._patients(cases, "(.+)_")


def test_folds_that_are_not_there_are_refused(folder, capsys):
    with pytest.raises(SystemExit):
        study.main(["run", "equal_budgets", str(folder.root), "--folds", "0", "9"])
    assert "has folds 0 to 1, not 9" in capsys.readouterr().err


@pytest.mark.parametrize("modalities", [3, 4, 5])
def test_hard_subsets_are_drawn_for_any_modalities_and_never_of_what_a_case_lacks(modalities):
    class Base:
        modality_names = tuple("ABCDE"[:modalities])

        def _build_dropout(self):
            return SimpleNamespace(_rng=np.random.default_rng(0))

    class Trainer(HardSubsets, Base):
        pass

    trainer = Trainer()
    sample = trainer._build_dropout().sample
    alone = np.zeros((40, modalities), dtype=bool)
    alone[:, 1] = True
    assert (sample(alone) == alone).all()
    trainer.difficulty[:] = 1e-3
    trainer.difficulty[2] = 1.0
    drawn = sample(np.ones((400, modalities), dtype=bool))
    assert drawn.any(1).all()
    assert (trainer.drawn == 2).mean() > 0.85


def test_an_unfinished_study_has_tables_of_what_has_been_run(folder):
    columns = ["arm", "seed", "fold", *scoring.SCORES]
    for seed, fold in ((0, 0), (0, 1), (1, 0)):
        found = scores_of("dropout", seed, fold) + scores_of("zero_fill", seed, fold, better=-0.1)
        pd.DataFrame(found, columns=columns).to_csv(folder.runs / f"pair-{seed}-{fold}.csv", index=False)
    text = tables.tables_of(EQUAL, folder.runs, folder.total_steps)["equal budgets, val"]
    assert "−10.0, −10.0, −10.0" in text


def test_a_folder_of_scores_made_elsewhere_has_tables(tmp_path, capsys):
    columns = ["arm", "seed", "fold", *scoring.SCORES]
    rows = [*scores_of("ours", 0, 0, better=0.1), *scores_of("theirs", 0, 0)]
    pd.DataFrame(rows, columns=columns).drop(columns=["seed", "fold", "split"]).to_csv(tmp_path / "x.csv", index=False)
    assert study.main(["table", "equal_budgets", str(tmp_path), "--baseline", "theirs"]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path.name}, val" in printed
    assert f"{tmp_path.name}, test" not in printed
    assert "+10.0" in printed
    with pytest.raises(SystemExit):
        study.main(["table", "equal_budgets", str(tmp_path)])
    assert "has no arm 'dropout': give one of ours, theirs" in capsys.readouterr().err
