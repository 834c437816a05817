"""The study of accuracy: equal totals of steps, folds, parts of a job array, and coarser copies of data."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))

import prepare
import score_files
import scoring
import study
import study_folder
from resampling import resample_image, resample_labels
from steps import HardSubsets
from studies import STUDIES
from study_folder import StudyFolder, Training
from train_arm import block_of

from nnunet_missingmod import plans_block
from nnunet_missingmod.host import CLASS_TABLE

EQUAL = STUDIES["equal_budgets"]


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


@pytest.mark.parametrize(
    ("configuration", "epoch_steps", "documented"),
    [
        ("2d", 150, "equal_budgets"),
        ("2d", 50, None),
        ("3d_fullres", 50, "equal_budgets_3d_fullres"),
        ("3d_fullres", 150, None),
    ],
)
def test_scores_of_other_epochs_than_the_documented_ones_stay_in_the_folder(
    folder, configuration, epoch_steps, documented, monkeypatch
):
    monkeypatch.setattr(study_folder, "HERE", folder.root / "scripts")
    runs = EQUAL.documented_runs(configuration)
    folder.describe(replace(folder.data, configuration=configuration, runs=runs, epoch_steps=epoch_steps))
    expected = folder.root / "runs" if documented is None else folder.root / "scripts" / "runs" / documented
    assert StudyFolder(EQUAL, folder.root).runs == expected


def test_steps_in_all_are_those_of_the_epochs():
    assert EQUAL.total_steps("teacher_half", 50) == 500
    assert EQUAL.total_steps("flagship", 50) == 1000
    # 75 steps of an epoch of 150 are 3 where an epoch has 7.
    assert STUDIES["methods"].total_steps("two_views_half_the_steps", 7) == 10 * (3 + 7)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ([{"train": ["p1_a"], "val": ["p1_a", "p2_a"]}], "Fold 0 validates on 1 case that it trains on: p1_a"),
        ([{"train": ["p1_a"], "val": ["p2_a"]}, {"train": ["p1_a"], "val": ["p1_b"]}], "Fold 1 .* on 1 patient .*: p1"),
        ([{"train": ["p1_a"], "val": []}], "Fold 0 validates no case"),
        ([{"train": [], "val": ["p1_a"]}], "Fold 0 trains on no case"),
        ([{"train": ["p1_a"], "val": ["p3_a"]}], "Fold 0 validates cases that the dataset has not: p3_a"),
        ([], "There is no fold"),
        ({"train": ["p1_a"], "val": ["p2_a"]}, "splits.json is to hold .* it is no list"),
        ([["p1_a"], ["p2_a"]], "splits.json is to hold .* A split is"),
        ([{"train": "p1_a", "val": ["p2_a"]}], "splits.json is to hold .* A split is"),
        (None, "--folds 3: .* at most as many as there are patients or cases to train on, 2"),
    ],
)
def test_splits_with_a_fault_are_refused_before_the_folder_is_claimed(tmp_path, monkeypatch, splits, said):
    raw = tmp_path / "Dataset600_X"
    for part, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (raw / part).mkdir(parents=True)
        for case in ("p1_a", "p1_b", "p2_a"):
            (raw / part / f"{case}{ending}").touch()
    description = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "L": 1}, "numTraining": 3}
    (raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}))
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    chosen = {"folds": 3} if splits is None else {"splits": tmp_path / "splits.json"}
    monkeypatch.chdir(raw)
    with pytest.raises(ValueError, match=said):
        prepare.prepare_raw(
            StudyFolder(EQUAL, tmp_path / "study"),
            Path(),
            configuration="2d",
            epoch_steps=150,
            patients="(p[0-9]+)",
            **chosen,
        )
    assert not (tmp_path / "study").exists()


def test_pictures_without_spacings_are_not_resampled(tmp_path):
    raw = tmp_path / "Dataset600_X"
    raw.mkdir()
    description = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "L": 1}, "numTraining": 3}
    (raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ".png"}))
    with pytest.raises(ValueError, match=r"files of \.png keep no spacing"):
        prepare.prepare_raw(
            StudyFolder(EQUAL, tmp_path / "study"), raw, configuration="2d", epoch_steps=150, spacing_mm=2.0
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arm;case;subset\na;c;T1\n", "lacks the column arm.* semicolons"),
        ("arm,case,subset,region,dice\na,c,T1,WT,0.5\n", "lacks the column num_present"),
        ("arm,case,subset,num_present,region,dice\na,c,T1,1,WT,80.5\n", "a Dice of 80.5, which is to be a share"),
        ("arm,case,subset,num_present,region,dice\na,c,T1,one,WT,0.5\n", "cannot be read"),
    ],
)
def test_scores_from_elsewhere_that_cannot_be_read_are_named(tmp_path, text, said):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ValueError, match=f"scores.csv .*{said}"):
        study.tables_of_scores(EQUAL, tmp_path, "a")


def test_visits_of_scores_from_elsewhere_count_as_their_patient(tmp_path):
    head = "arm,seed,case,subset,num_present,region,dice\n"
    lines = [
        f"{arm},{seed},p{patient}_{visit},T1,1,WT,{0.5 + (arm == 'b') * (0.02 * patient + 0.01 * seed):.3f}"
        for arm in "ab"
        for seed in range(3)
        for patient in range(6)
        for visit in range(1 + patient % 4)
    ]
    (tmp_path / "scores.csv").write_text(head + "\n".join(lines) + "\n")
    plain, grouped = (
        next(iter(study.tables_of_scores(EQUAL, tmp_path, "a", patients).values())) for patients in (None, "(p[0-9])")
    )
    assert plain != grouped
    with pytest.raises(ValueError, match="p0_0"):
        study.tables_of_scores(EQUAL, tmp_path, "a", "(q[0-9])")


def test_a_network_for_a_subset_that_no_case_of_the_fold_can_give_is_done_with(folder):
    training = Training("dedicated_0_1", 0, 1)
    assert folder.splits_left(training) == ["val"]
    score_files.write_scores(folder.scores(training), training, [])
    assert folder.is_done(training)


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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--splits", "my.json"], "--splits is of a raw dataset: give it by --raw"),
        (["--spacing", "2"], "--spacing is of a raw dataset"),
        (["--folds", "3"], "--folds is of a raw dataset"),
        (["--patients", "(.+)_"], "--patients is of a raw dataset"),
        *((["--raw", "x", "--spacing", mm], "argument --spacing: it is a number of mm above 0") for mm in
          ("-1", "0", "nan", "inf", "a")),
        *((["--epoch-steps", steps], "argument --epoch-steps: it is a whole number from 1 on") for steps in
          ("0", "-5", "1.5")),
        (["--raw", "x", "--folds", "0"], "argument --folds: it is a whole number from 1 on"),
    ],
)  # fmt: skip
def test_what_phantoms_do_not_have_and_what_cannot_be_meant_is_refused_before_the_folder_is_claimed(
    tmp_path, capsys, given, said
):
    with pytest.raises(SystemExit):
        study.main(["prepare", "methods", str(tmp_path / "new"), *given])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_training_that_is_named_twice_is_run_once(folder, capsys):
    assert study.in_order(folder, ["dropout"], [0, 1, 0], [1, 1]) == [
        Training("dropout", 0, 1),
        Training("dropout", 1, 1),
    ]
    for given in (["--seeds", "-1"], ["--jobs", "0"], ["--folds", "-2"]):
        with pytest.raises(SystemExit):
            study.main(["run", "equal_budgets", str(folder.root), *given])
        assert f"argument {given[0]}: " in capsys.readouterr().err


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
