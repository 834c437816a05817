"""Which teacher a student is given, and every reason for which one is refused."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.choices import CONVENTIONAL_TEACHER
from nnunet_missingmod.training.teacher_folder import (
    ENVIRONMENT_VARIABLE,
    Student,
    TeacherError,
    check_teacher,
    find_teacher,
)

CONFIGURATION = {
    "data_identifier": "nnUNetPlans_3d_fullres",
    "batch_size": 2,
    "spacing": [1.0, 1.0, 1.0],
    "patch_size": [16, 16, 16],
    "normalization_schemes": ["ZScoreNormalization"] * 2,
    "architecture": {"network_class_name": "PlainConvUNet", "arch_kwargs": {"n_stages": 3}},
    "missingmod": {"network": "early"},
}
PLANS = {"dataset_name": "Dataset901_Tiny", "plans_name": "nnUNetPlans", "transpose_forward": [0, 1, 2]}
DATASET = {"channel_names": {"0": "FLAIR", "1": "T1"}, "labels": {"background": 0, "tumour": 1}}
TRAIN = "nnUNetv2_train Dataset901_Tiny 3d_fullres 0 -tr {} -p nnUNetPlans"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def student(tmp_path):
    return Student(tmp_path, PLANS, DATASET, "3d_fullres", CONFIGURATION, 0)


@pytest.fixture
def make_folder(tmp_path):
    def make(trainer=CONVENTIONAL_TEACHER, *, parent="Dataset901_Tiny", fold=0):
        folder = tmp_path / parent / f"{trainer}__nnUNetPlans__3d_fullres"
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / "plans.json").write_text(json.dumps(PLANS))
        (folder / "dataset.json").write_text(json.dumps(DATASET))
        (folder / f"fold_{fold}" / "checkpoint_final.pth").touch()
        return folder

    return make


@pytest.mark.parametrize("by_path", [False, True])
def test_what_only_pretrains_is_refused_before_its_command_is_offered(student, make_folder, by_path):
    name = "nnUNetTrainerMaskedPretraining"
    choice = str(make_folder(name)) if by_path else name
    with pytest.raises(TeacherError, match=f"{name} cannot teach: it only pretrains"):
        find_teacher(student, choice)


def test_by_convention_by_trainer_by_path_and_the_environment_goes_first(student, make_folder, monkeypatch):
    conventional = make_folder()
    stock = make_folder("nnUNetTrainer")
    elsewhere = make_folder("nnUNetTrainer", parent="elsewhere")
    assert find_teacher(student, "auto").folder == conventional
    assert find_teacher(student, "nnUNetTrainer").folder == stock
    assert find_teacher(student, str(elsewhere)).folder == elsewhere
    assert find_teacher(student, str(elsewhere)).trainer == "nnUNetTrainer"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(elsewhere))
    assert find_teacher(student, "auto").folder == elsewhere


def test_none_there_is_refused_with_the_command_that_trains_it(student):
    with pytest.raises(TeacherError) as caught:
        find_teacher(student, "auto")
    assert TRAIN.format(CONVENTIONAL_TEACHER) in str(caught.value)
    assert ENVIRONMENT_VARIABLE in str(caught.value)


def test_an_unfinished_one_is_refused_with_the_command_that_continues_it(student, make_folder):
    fold = make_folder() / "fold_0"
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")
    with pytest.raises(TeacherError, match="not trained to its end") as caught:
        find_teacher(student, "auto")
    assert TRAIN.format(CONVENTIONAL_TEACHER) + " --c" in str(caught.value)


def test_one_that_has_not_saved_anything_yet_is_unfinished_and_no_other_fold(student, make_folder):
    (make_folder() / "fold_0" / "checkpoint_final.pth").unlink()
    with pytest.raises(TeacherError, match="not trained to its end") as caught:
        find_teacher(student, "auto")
    assert TRAIN.format(CONVENTIONAL_TEACHER) in str(caught.value)
    assert "--c" not in str(caught.value)


def test_another_fold_alone_is_refused(student, make_folder):
    make_folder(fold=3)
    with pytest.raises(TeacherError, match=r"has no fold 0 \(it has: fold_3\)"):
        find_teacher(student, "auto")


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text('{"labels": ')])
@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_a_missing_or_torn_json_is_refused_by_name(student, make_folder, name, damage):
    damage(make_folder() / name)
    with pytest.raises(TeacherError, match=name):
        find_teacher(student, "auto")


def check(student, folder, *, plans=PLANS, dataset=DATASET, configuration=CONFIGURATION, trained_as=None):
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    trained_as = {"configuration": "3d_fullres", "fold": 0, **(trained_as or {})}
    check_teacher(student, find_teacher(student, "auto"), teacher_configuration=configuration, trained_as=trained_as)


def test_the_same_data_and_plans_are_accepted_whatever_does_not_matter(student, make_folder):
    other = {**CONFIGURATION, "batch_size": 5, "data_identifier": "another", "missingmod": {"network": "parallel"}}
    check(student, make_folder(), plans={**PLANS, "plans_name": "Copy"}, configuration=other)


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("dataset", {"plans": {**PLANS, "dataset_name": "Dataset007_Other"}}),
        ("transpose_forward", {"plans": {**PLANS, "transpose_forward": [2, 0, 1]}}),
        ("configuration", {"trained_as": {"configuration": "3d_lowres"}}),
        ("fold", {"trained_as": {"fold": 1}}),
        ("channel_names", {"dataset": {**DATASET, "channel_names": {"0": "T1", "1": "FLAIR"}}}),
        ("labels", {"dataset": {**DATASET, "labels": {"background": 0, "tumour": 1, "oedema": 2}}}),
        ("regions_class_order", {"dataset": {**DATASET, "regions_class_order": [1]}}),
        ("spacing", {"configuration": {**CONFIGURATION, "spacing": [2.0, 1.0, 1.0]}}),
        ("patch_size", {"configuration": {**CONFIGURATION, "patch_size": [32, 32, 32]}}),
        ("normalization_schemes", {"configuration": {**CONFIGURATION, "normalization_schemes": ["CT"] * 2}}),
        ("architecture", {"configuration": {**CONFIGURATION, "architecture": {"network_class_name": "Other"}}}),
    ],
)
def test_what_differs_is_named_with_both_values(student, make_folder, what, changes):
    with pytest.raises(TeacherError) as caught:
        check(student, make_folder(), **changes)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[1].strip().startswith(what)
    assert "teacher " in lines[1]
    assert "student " in lines[1]
    assert lines[2].endswith(TRAIN.format(CONVENTIONAL_TEACHER))


def test_all_differences_are_listed_at_once(student, make_folder):
    with pytest.raises(TeacherError) as caught:
        check(student, make_folder(), dataset={**DATASET, "labels": {}}, trained_as={"fold": "all"})
    assert "labels" in str(caught.value)
    assert "fold: teacher all, student 0" in str(caught.value)
