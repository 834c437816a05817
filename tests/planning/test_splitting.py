"""Folds keep patients together and have every modality on both sides; names tell visits of one patient."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nnunet_missingmod.modalities import compile_pattern, name_patients
from nnunet_missingmod.planning import splitting
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


def test_folds_in_which_every_modality_could_be_are_found():
    """Patients 0 to 2 in one, 3 and 4 in the other: each has every modality."""
    of_patient = {"p0": (0, 2), "p1": (0, 1), "p2": (0, 1), "p3": (0, 2), "p4": (1, 2)}
    for seed in range(20):
        assert faults_of_folds(balanced_folds(of_patient, patients={}, folds=2, seed=seed), of_patient, NAMES) == []


def has_folds(owned, num_folds):
    """Whether some division of the patients, of all, has every modality in each fold."""
    every = set.union(*owned)
    for fold_of in product(range(num_folds), repeat=len(owned)):
        has = [set() for _ in range(num_folds)]
        for fold, channels in zip(fold_of, owned, strict=True):
            has[fold] |= channels
        if all(channels == every for channels in has):
            return True
    return False


def test_what_folds_lack_none_could_have():
    rng = np.random.default_rng(0)
    lacking = 0
    for _ in range(300):
        num_patients, num_folds = int(rng.integers(4, 8)), int(rng.integers(2, 4))
        present = {
            f"p{patient}_v{visit}": sorted(rng.choice(3, rng.integers(1, 3), replace=False).tolist())
            for patient in range(num_patients)
            for visit in range(rng.integers(1, 3))
        }
        patients = {case: case.split("_")[0] for case in present}
        folds = balanced_folds(present, patients=patients, folds=num_folds, seed=0)
        assert validated(folds) == sorted(present)
        assert all(fold["val"] for fold in folds)
        assert folds == balanced_folds(present, patients=patients, folds=num_folds, seed=0)
        if faults_of_folds(folds, present, NAMES, patients=patients):
            lacking += 1
            owned = {}
            for case, channels in present.items():
                owned.setdefault(patients[case], set()).update(channels)
            assert not has_folds(list(owned.values()), num_folds)
    assert 0 < lacking < 300


def test_other_seeds_find_what_moves_and_exchanges_do_not(monkeypatch):
    of_each = [(0,), (2, 3), (0, 1), (1, 2), (0,), (3,), (2,), (1, 3)]
    present = {f"c{number}": channels for number, channels in enumerate(of_each)}
    names = ("FLAIR", "T1", "T1ce", "T2")
    assert faults_of_folds(balanced_folds(present, patients={}, folds=3, seed=0), present, names) == []
    monkeypatch.setattr(splitting, "_TRIES", 1)
    assert faults_of_folds(balanced_folds(present, patients={}, folds=3, seed=0), present, names) != []


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


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ({"a": (0,)}, r"One patient alone \(a\) cannot be split into 5 folds: at least 2 patients are needed"),
        ({}, "No patient cannot be split"),
    ],
)
def test_one_patient_cannot_be_split(present, said):
    with pytest.raises(ValueError, match=said):
        balanced_folds(present, patients={}, folds=5, seed=0)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="The seed is a whole number from 0, got -1"):
        balanced_folds({"a": (0,), "b": (0,)}, patients={}, folds=2, seed=-1)


def test_cases_on_both_sides_of_a_fold_are_named():
    present = {f"c{number}": (0,) for number in range(9)}
    folds = [
        {"train": sorted(present), "val": ["c8", "gone"]},
        {"train": [*present, "gone"], "val": [*present, "gone"]},
    ]
    assert faults_of_folds(folds, present, NAMES) == [
        "Fold 0 validates on 1 case that it trains on: c8.",
        "Fold 1 validates on 10 cases that it trains on: c0, c1, c2, c3, c4 and others.",
    ]


def test_what_is_wrong_with_folds_is_said():
    present = {"a": (0, 1), "b": (0,), "c": (0, 2)}
    folds = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["b", "c"], "val": ["a", "gone"]}]
    assert faults_of_folds(folds, present, NAMES, patients={"a": "p", "b": "p"}) == [
        "Fold 0 trains on no case with T1ce.",
        "Fold 0 validates no case with T1.",
        "Fold 1 trains on no case with T1.",
        "Fold 1 validates no case with T1ce.",
        "Fold 1 validates on 1 patient that it trains on: p.",
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
        (["p1_2019-01-02", "p1_2020-03-05", "p2_2019-07-07"], ["p1"]),
        (["p01_2019-01-02", "p01_2019-01-20", "p01_2020-03-05", "p02_2019-01-02"], ["p01"]),
        (["p1_20190102_1", "p1_20190102_2", "p2_20190102_1"], ["p1"]),
        (["P01v1", "P01v2", "P02v1"], ["P01"]),
        (["P01visit1", "P01visit2", "P02visit1"], ["P01"]),
        (["UCSF-PDGM-0431", "UCSF-PDGM-0431_FU001d", "UCSF-PDGM-0432"], ["UCSF-PDGM-0431"]),
        (["P01_Visit1_MR", "P01_Visit2_MR", "P02_Visit1_MR"], ["P01"]),
        (["P01_MR_brain", "P01_2020-03-05_MR_brain", "P02_MR_brain"], ["P01"]),
        (["P01_D0", "P01_D7", "P01_D28", "P02_D0"], ["P01"]),
        (["p1_01-02-2020", "p1_01-02-2021", "p2_31-12-2020"], ["p1"]),
        (["P01_w0", "P01_w12", "P02_w0"], ["P01"]),
        (["P01_Y1", "P01_Y2", "P02_Y1"], ["P01"]),
        (["P01_run-1", "P01_run-2", "P02_run-1"], ["P01"]),
        (["P01_first", "P01_second", "P02_first"], ["P01"]),
        (["Müller Hans 2020-01-01", "Müller Hans 2021-03-04", "Maier Eva 2020-01-01"], ["Müller Hans"]),
        (["p1.2020.01.02", "p1.2021.03.04", "p2.2020.01.02"], ["p1"]),
        (["P 01 visit 1", "P 01 visit 2", "P 02 visit 1"], ["P 01"]),
        (["p1.v1", "p1.v2", "p2.v1"], ["p1"]),
        (["OAS30001_d0129", "OAS30001_d0757", "OAS30002_d0653"], ["OAS30001"]),
    ],
)
def test_names_tell_visits_and_the_pattern_finds_the_same_patients(cases, patients):
    found = find_visits(cases)
    assert list(found.of_patient) == patients
    owners = name_patients(cases, compile_pattern(found.pattern))
    assert len(set(owners.values())) == 2
    assert {owners[case] for case in found.of_patient[patients[0]]} == set(patients)


def test_what_one_ending_tells_too_much_of_another_may_tell():
    controls = [f"ctr_t{number}" for number in range(20)]
    found = find_visits([*controls, "P01_01", "P01_02"])
    assert found is not None
    assert found.of_patient == {"P01": ["P01_01", "P01_02"]}


@pytest.mark.parametrize(
    "cases",
    [
        ["phantom-train-001", "phantom-train-002", "phantom-train-010"],
        ["case_001", "case_002"],
        ["BraTS2021_00001", "BraTS2021_00002"],
        ["patient12", "patient13", "patientt1"],
        [f"site_01_{number:03d}" for number in range(30)] + ["site_02_001"],
        ["one"],
        [],
        ["BRATS_001", "BRATS_002"],
        ["hippocampus_001", "hippocampus_003"],
        ["case_0001", "case_0002"],
        ["site_19000001", "site_19000002", "other_19000003"],
        ["siteA3T1", "siteA3T2", "siteB3T1"],
        ["siteA_D001", "siteA_D002", "siteB_D001"],
        [f"BRATS_{patient}_2020-{month:02d}-03" for patient in ("001", "002") for month in range(1, 13)]
        + ["BRATS_001_2021-01-03"],
        ["p01_left", "p01_right", "p02_left"],
        ["MR", "P1MR", "_MR"],
        # Visits of one patient, whose months are no patients.
        ["p01_2019-01-02", "p01_2019-01-20", "p01_2020-03-05"],
    ],
)
def test_names_that_only_count_tell_nothing(cases):
    assert find_visits(cases) is None
