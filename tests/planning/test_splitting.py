"""Folds keep patients together and have every modality on both sides; names tell visits of one patient."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.modalities import compile_pattern, name_patients
from nnunet_missingmod.planning.splitting import balanced_folds, faults_of_folds, find_visits, host_folds

NAMES = ("FLAIR", "T1", "T1ce")


def validated(folds):
    return sorted(case for fold in folds for case in fold["val"])


@pytest.mark.parametrize("seed", range(5))
def test_every_case_is_validated_once_and_patients_stay_together(seed):
    rng = np.random.default_rng(seed)
    present = {
        f"p{patient}_v{visit}": sorted(rng.choice(3, rng.integers(1, 4), replace=False).tolist())
        for patient in range(14)
        for visit in range(rng.integers(1, 4))
    }
    patients = {case: case.split("_")[0] for case in present}
    folds = balanced_folds(present, patients=patients, folds=5, seed=seed)
    assert validated(folds) == sorted(present)
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == sorted(present)
        assert not {patients[case] for case in fold["train"]} & {patients[case] for case in fold["val"]}
    assert faults_of_folds(folds, present, NAMES, patients=patients) == []
    assert folds == balanced_folds(dict(reversed(present.items())), patients=patients, folds=5, seed=seed)


def test_a_rare_modality_is_in_every_fold_where_chance_would_miss_one():
    present = {f"c{number:02d}": (0, 1, 2) if number < 5 else (0, 1) for number in range(50)}
    folds = balanced_folds(present, patients={}, folds=5, seed=0)
    assert [sum(2 in present[case] for case in fold["val"]) for fold in folds] == [1] * 5
    assert [len(fold["val"]) for fold in folds] == [10] * 5
    assert faults_of_folds(host_folds(sorted(present)), present, NAMES) != []


def test_complete_cases_are_balanced_by_their_number():
    present = {f"c{number}": (0, 1) for number in range(12)}
    assert sorted(len(fold["val"]) for fold in balanced_folds(present, patients={}, folds=5, seed=1)) == [2, 2, 2, 3, 3]


def test_one_big_patient_leaves_no_fold_empty():
    present = {f"big_{number}": (0,) for number in range(20)} | {f"c{number}_0": (0,) for number in range(4)}
    patients = {case: case.split("_")[0] for case in present}
    folds = balanced_folds(present, patients=patients, folds=5, seed=0)
    assert sorted(len(fold["val"]) for fold in folds) == [1, 1, 1, 1, 20]


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_folds_that_cannot_be_are_refused(folds):
    with pytest.raises(ValueError, match=f"3 patients cannot be split into {folds} folds: give 2 to 3 folds"):
        balanced_folds({"a": (0,), "b": (0,), "c": (0,)}, patients={}, folds=folds, seed=0)


def test_what_is_wrong_with_folds_is_said():
    present = {"a": (0, 1), "b": (0,), "c": (0, 2)}
    folds = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["b", "c"], "val": ["a", "gone"]}]
    assert faults_of_folds(folds, present, NAMES, patients={"a": "p", "b": "p"}) == [
        "Fold 0 trains on no case with T1ce.",
        "Fold 0 validates no case with T1.",
        "Fold 1 trains on no case with T1.",
        "Fold 1 validates no case with T1ce.",
        "Fold 1 validates on 1 patients that it trains on: p.",
    ]


def test_the_folds_of_nnunet_are_its_own():
    cases = [f"c{number}" for number in range(11)]
    assert validated(host_folds(cases)) == sorted(cases)
    assert len(host_folds(cases)) == 5
    assert len(host_folds(cases[:3])) == 3
    assert host_folds(cases[:1]) == []


@pytest.mark.parametrize(
    ("cases", "patients"),
    [
        (["P01_v1", "P01_v2", "P02_v1"], ["P01"]),
        (["P01_20190102", "P01_20200305", "P02_20190707"], ["P01"]),
        (["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"], ["sub-01"]),
        (["BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-GLI-00006-100"], ["BraTS-GLI-00005"]),
        (["a_baseline", "a_followup", "b_baseline"], ["a"]),
        (["a", "a_followup2", "b"], ["a"]),
        (["ms_patient03_tp02", "ms_patient03_tp01", "ms_patient04_tp1"], ["ms_patient03"]),
    ],
)
def test_names_tell_visits_and_the_pattern_finds_the_same_patients(cases, patients):
    found = find_visits(cases)
    assert list(found.of_patient) == patients
    owners = name_patients(cases, compile_pattern(found.pattern))
    assert len(set(owners.values())) == 2
    assert {owners[case] for case in found.of_patient[patients[0]]} == set(patients)


@pytest.mark.parametrize(
    "cases",
    [
        ["phantom-train-001", "phantom-train-002", "phantom-train-010"],
        ["case_001", "case_002"],
        ["BraTS2021_00001", "BraTS2021_00002"],
        ["patient12", "patient13", "patientt1"],
        [f"site_01_{number:03d}" for number in range(30)] + ["site_02_001"],
        ["one"],
    ],
)
def test_names_that_only_count_tell_nothing(cases):
    assert find_visits(cases) is None
