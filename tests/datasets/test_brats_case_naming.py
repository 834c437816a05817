from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.datasets.brats_case import CHANNELS, find_cases


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    "case",
    ["Brats17_2013_2_1", "Brats18_CBICA_AAB_1", "BraTS19_TCIA01_147_1", "BraTS20_Training_001", "BraTS2021_00000"],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("parent", ["", "HGG/", "LGG/"])
def test_the_naming_up_to_2021_is_understood_at_any_depth(tmp_path, case, ending, parent):
    suffixes = {"flair": "FLAIR", "t1": "T1", "t1ce": "T1ce", "t2": "T2"}
    touch(tmp_path, *[f"{parent}{case}/{case}_{suffix}{ending}" for suffix in (*suffixes, "seg")])
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == [case]
    assert unknown == []
    assert not cases[case].from_2023
    folder = tmp_path / parent / case
    assert cases[case].images == {name: folder / f"{case}_{suffix}{ending}" for suffix, name in suffixes.items()}
    assert cases[case].segmentation == folder / f"{case}_seg{ending}"


@pytest.mark.parametrize("case", ["BraTS-GLI-00000-000", "BraTS-MET-00001-000", "BraTS-GLI-02066-103"])
def test_the_naming_from_2023_on_is_understood(tmp_path, case):
    suffixes = {"t2f": "FLAIR", "t1n": "T1", "t1c": "T1ce", "t2w": "T2"}
    touch(tmp_path, *[f"{case}/{case}-{suffix}.nii.gz" for suffix in (*suffixes, "seg")])
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == [case]
    assert unknown == []
    assert cases[case].from_2023
    assert cases[case].images == {
        name: tmp_path / case / f"{case}-{suffix}.nii.gz" for suffix, name in suffixes.items()
    }
    assert cases[case].segmentation == tmp_path / case / f"{case}-seg.nii.gz"


def test_the_misnamed_segmentation_of_2020_belongs_to_its_folder(tmp_path):
    case = "BraTS20_Training_355"
    touch(tmp_path, f"{case}/{case}_t1.nii", f"{case}/W39_1998.09.19_Segm.nii")
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == [case]
    assert unknown == []
    assert cases[case].segmentation == tmp_path / case / "W39_1998.09.19_Segm.nii"


def test_two_files_for_one_place_are_told_with_both_names(tmp_path):
    touch(tmp_path, "HGG/a/a_t1.nii", "LGG/a/a_t1.nii.gz", "HGG/a/a_seg.nii", "LGG/a/a_seg.nii")
    cases, _ = find_cases(tmp_path)
    clashes = " ".join(cases["a"].clashes)
    assert len(cases["a"].clashes) == 2
    assert "a_t1.nii and" in clashes
    assert "a_t1.nii.gz are both its T1" in clashes
    assert "its segmentation" in clashes


def test_other_files_are_passed_over_and_nifti_among_them_named(tmp_path):
    touch(tmp_path, "a/a_t1.nii.gz", "a/._a_t2.nii.gz", "a/a_t1gd.nii.gz", "survival_info.csv", "a/a_t2.txt")
    cases, unknown = find_cases(tmp_path)
    assert list(cases["a"].images) == ["T1"]
    assert unknown == [tmp_path / "a" / "a_t1gd.nii.gz"]


def test_cases_come_in_order_and_linked_folders_count_once(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "folder"
    touch(store, "b/b_t1.nii.gz", "a/a_t1.nii.gz")
    folder.mkdir()
    (folder / "linked").symlink_to(store)
    (store / "loop").symlink_to(folder)
    cases, _ = find_cases(folder)
    assert list(cases) == ["a", "b"]
    assert all(case.clashes == [] for case in cases.values())


def test_channels_are_in_the_order_of_this_package():
    assert CHANNELS == ("FLAIR", "T1", "T1ce", "T2")
